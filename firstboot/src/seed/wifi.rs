//! The radio network, and the three locks on Pi OS's radio: rfkill's saved state, NetworkManager's own switch, and the
//! country, which the builder has put on the kernel command line.

use std::path::Path;

use cluster::card::CardWifi;
use cluster::secret::Secret;

use super::network::{self, Stack};
use super::{Seed, SeedError};

const PROFILE: &str = "/etc/NetworkManager/system-connections/firstboot-wifi.nmconnection";
const NM_FOLDER: &str = "/var/lib/NetworkManager";
const NM_STATE: &str = "/var/lib/NetworkManager/NetworkManager.state";
const RFKILL: &str = "/var/lib/systemd/rfkill";
const WPA: &str = "/etc/wpa_supplicant/wpa_supplicant.conf";

/// Power lost here: each file is old or new.
pub(super) fn apply(seed: &Seed<'_>) -> Result<(), SeedError> {
    let Some(wifi) = seed.card.wifi.as_ref().filter(|_| !seed.leaves_network_to_cloud_init()) else {
        return Ok(());
    };
    unblock(seed)?;
    let address = network::radio_address(seed);
    let stack = network::stack(seed)?;
    if stack == Stack::NetworkManager {
        seed.root.make_folder(Path::new(NM_FOLDER), 0o700, None)?;
        let state = switch_on(&seed.read_text(NM_STATE)?);
        seed.write_text(NM_STATE, &state, 0o600)?;
    }
    if let (Stack::Dhcpcd, Some(address)) = (stack, address) {
        let text = network::edit_dhcpcd(&seed.read_text(network::DHCPCD)?, "wlan0", address);
        seed.write_text(network::DHCPCD, &text, 0o644)?;
    }
    // Once the secrets are gone the profile of the first run stays.
    let Some(secrets) = seed.secrets()? else { return Ok(()) };
    let psk = secrets.wifi_psk.as_ref().map(Secret::expose);
    if psk.is_some_and(|psk| psk.contains(|c: char| c.is_control())) {
        return Err(SeedError::Unfit { what: "Wi-Fi pass phrase", value: "(secret)".to_owned() });
    }
    let psk = psk.map(String::as_str);
    match stack {
        Stack::NetworkManager => {
            seed.root.make_folder(Path::new(network::PROFILES), 0o700, None)?;
            let sections = network::ip_sections(address);
            seed.write_text(PROFILE, &(profile(wifi, psk) + &sections), 0o600)
        }
        Stack::Dhcpcd => seed.write_text(WPA, &supplicant(wifi, psk), 0o600),
    }
}

/// The state that systemd-rfkill restores. Images ship such files for Bluetooth only (pi-gen `stage2/02-net-tweaks`); one for a radio is
/// there once it has run. Without one the kernel's default holds, until NetworkManager unblocks a radio that is to be on.
fn unblock(seed: &Seed<'_>) -> Result<(), SeedError> {
    for name in seed.root.list(Path::new(RFKILL))? {
        if name.ends_with(":wlan") {
            seed.root.write(&Path::new(RFKILL).join(name), b"0\n", 0o644, None)?;
        }
    }
    Ok(())
}

/// NetworkManager's state file with the radio switched on.
fn switch_on(state: &str) -> String {
    let others = state.lines().filter(|line| !line.starts_with("WirelessEnabled=") && *line != "[main]");
    let mut text = String::from("[main]\nWirelessEnabled=true\n");
    for line in others {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The sections of a keyfile above the addresses. The name goes as numbers (nm-settings-keyfile(5)): it may be any bytes,
/// and a name such as `1;2;` would be taken for numbers anyway.
fn profile(wifi: &CardWifi, psk: Option<&str>) -> String {
    let bytes: String = wifi.ssid.bytes().map(|byte| format!("{byte};")).collect();
    // NetworkManager looks for a hidden network by name (`hidden`, nm-settings(5)).
    let hidden = if wifi.hidden { "hidden=true\n" } else { "" };
    let mut text = format!(
        "[connection]\nid=firstboot-wifi\ntype=wifi\n\n[wifi]\nmode=infrastructure\nssid={bytes}\n{hidden}\n"
    );
    if let Some(psk) = psk {
        text += &format!("[wifi-security]\nkey-mgmt=wpa-psk\npsk={}\n\n", escape(psk));
    }
    text
}

/// A value of GLib's key files: backslashes doubled, spaces written out because those at the edges are cut.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\s")
}

/// wpa_supplicant.conf(5). A name in hexadecimal digits may be any bytes; 64 of them without quotes are a raw key.
fn supplicant(wifi: &CardWifi, psk: Option<&str>) -> String {
    let country = &wifi.country;
    let name: String = wifi.ssid.bytes().map(|byte| format!("{byte:02x}")).collect();
    let key = match psk {
        None => "key_mgmt=NONE".to_owned(),
        Some(key) if key.len() == 64 => format!("psk={key}"),
        Some(phrase) => format!("psk=\"{phrase}\""),
    };
    let hidden = if wifi.hidden { "\tscan_ssid=1\n" } else { "" };
    format!(
        "country={country}\nctrl_interface=DIR=/var/run/wpa_supplicant GROUP=netdev\nupdate_config=1\n\n\
         network={{\n\tssid={name}\n{hidden}\t{key}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(ssid: &str) -> CardWifi {
        CardWifi { country: "DE".to_owned(), ssid: ssid.to_owned(), hidden: false }
    }

    #[test]
    fn asks_for_a_hidden_network_by_name() {
        let hidden = CardWifi { hidden: true, ..network("red") };
        assert!(profile(&hidden, None).contains("\nssid=114;101;100;\nhidden=true\n\n"));
        assert!(supplicant(&hidden, None).contains("\tssid=726564\n\tscan_ssid=1\n\tkey_mgmt=NONE\n"));
        assert!(!profile(&network("red"), None).contains("hidden"));
        assert!(!supplicant(&network("red"), None).contains("scan_ssid"));
    }

    #[test]
    fn a_profile_carries_any_name_and_any_pass_phrase() {
        let text = profile(&network("Köln 1;2"), Some(r" a\b "));
        assert!(text.contains("ssid=75;195;182;108;110;32;49;59;50;\n"));
        assert!(text.contains("\npsk=\\sa\\\\b\\s\n"));
        assert!(!profile(&network("open"), None).contains("security"));
    }

    #[test]
    fn the_radio_is_switched_on_whatever_the_state_said() {
        let shipped = "[main]\nNetworkingEnabled=true\nWirelessEnabled=false\nWWANEnabled=true\n";
        let on = switch_on(shipped);
        assert_eq!(on, "[main]\nWirelessEnabled=true\nNetworkingEnabled=true\nWWANEnabled=true\n");
        assert_eq!(switch_on(&on), on);
        assert_eq!(switch_on(""), "[main]\nWirelessEnabled=true\n");
    }

    #[test]
    fn the_supplicant_tells_a_raw_key_from_a_phrase() {
        let raw = "0".repeat(64);
        assert!(supplicant(&network("red"), Some(&raw)).contains(&format!("\tpsk={raw}\n")));
        assert!(supplicant(&network("red"), Some("secret words")).contains("\tpsk=\"secret words\"\n"));
        assert!(supplicant(&network("red"), None).contains("country=DE\n"));
        assert!(supplicant(&network("red"), None).contains("\tssid=726564\n\tkey_mgmt=NONE\n"));
    }
}
