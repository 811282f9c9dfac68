//! What to type about each kind of trouble: one advice for all machines that share it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cluster::host::Host;

use super::{Kind, Trouble};
use crate::error::{Hint, builder, hint, quote as quoted};
use crate::ssh::Ssh;

/// What decides which words help.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The cluster's own `ssh_config`, where the machines are nodes with cards of ours.
    pub ours: Option<PathBuf>,
    /// The configuration file that stands for the user's own.
    pub own: Option<PathBuf>,
    /// Who logs in, where the command line says so.
    pub user: Option<String>,
    /// Where machines are, and who logs in, as a cluster file has it: by the names that are shown.
    pub at: BTreeMap<String, Host>,
    /// The `ssh` that tried, which knows who logs in where nobody else says so.
    pub ssh: Option<Arc<Ssh>>,
}

impl Around {
    /// The `ssh` a person would type to see for themselves; with an option, or none.
    pub fn ssh(&self, option: &str, host: &Host) -> String {
        let file = self.ours.as_ref().or(self.own.as_ref());
        let file =
            file.map(|file| format!(" -F {}", quoted(&file.display().to_string()))).unwrap_or_default();
        let option = if option.is_empty() { String::new() } else { format!(" {option}") };
        format!("ssh{file}{option} {}", self.login(host))
    }

    /// Port, machine and user as `ssh` takes them.
    fn login(&self, host: &Host) -> String {
        let at = self.at.get(&host.name);
        let said = host.user.clone().or_else(|| self.user.clone()).or_else(|| at?.user.clone());
        let asked = || self.ssh.as_ref()?.user_of(host);
        let said = said
            .or_else(|| if self.ours.is_some() { None } else { asked().or_else(|| Some("pi".to_owned())) });
        let port = host.port.or_else(|| at?.port).map(|port| format!("-p {port} ")).unwrap_or_default();
        match said {
            Some(user) => format!("{port}{user}@{}", self.name(host)),
            None => format!("{port}{}", self.name(host)),
        }
    }

    /// The name or address that `ssh` looks for.
    fn name<'a>(&'a self, host: &'a Host) -> &'a str {
        &self.at.get(&host.name).unwrap_or(host).name
    }
}

/// What to do about a kind of trouble that these machines share; the first one's own words are `trouble`.
pub fn advise(trouble: &Trouble, hosts: &[&Host], around: &Around) -> Hint {
    let Some(first) = hosts.first() else { return "".into() };
    let ours = around.ours.is_some();
    match trouble.kind {
        Kind::UnknownKey if ours => {
            let build = builder(["build", "--force", &first.name]);
            hint!["the secrets folder has lost this host key: ", build, " writes known_hosts anew"]
        }
        Kind::UnknownKey => unknown_key(trouble, hosts, first, around).into(),
        Kind::ChangedKey if ours => hint![
            "the machine at that address was not made from this node's card: is it another Pi, or was its card made \
             with other secrets? ",
            builder(["status"]),
            " tells addresses, ",
            builder(["flash", &first.name]),
            " makes the card anew"
        ],
        Kind::ChangedKey => {
            let known = between(&trouble.said, "Host key for ", " has changed").unwrap_or(around.name(first));
            let file = trouble.known_in.as_deref().map(|file| format!(" -f {}", quoted(file)));
            format!(
                "if the machine was set up anew, forget its old key: ssh-keygen{} -R {}; if it was not, somebody may \
                 stand between you and it",
                file.unwrap_or_default(),
                quoted(known)
            )
            .into()
        }
        Kind::Denied if ours => format!(
            "load the private key that belongs to user.authorized_keys of the cluster file: ssh-add; and try: {}",
            around.ssh("-v", first)
        )
        .into(),
        Kind::Denied => format!(
            "put your key there: ssh-copy-id {}; or load it: ssh-add; or log in as another user: --user NAME",
            around.login(first)
        )
        .into(),
        Kind::Name if ours => hint![builder(["status"]), " finds the nodes' addresses and keeps them for ssh"],
        Kind::Name => "is the name right? Addresses do as well: --hosts '10.1.1.[2-5]'".into(),
        Kind::Refused => {
            "still booting? Otherwise, on the Pi itself: sudo systemctl enable --now ssh".into()
        }
        Kind::NoRoute | Kind::Silent if ours => {
            hint!["is it powered on, on this network? ", builder(["status"]), " tells when it was last heard"]
        }
        Kind::NoRoute | Kind::Silent => "is it powered on, on this network, at that address?".into(),
        Kind::Lost => "did it lose power, or restart? What ran there may go on, or not".into(),
        Kind::OtherMachine => {
            "do two machines share that address, or did it change hands? Run the same command again".into()
        }
        Kind::Settings => format!("mend the configuration: {}", trouble.said).into(),
        Kind::NoAgreement | Kind::Closed | Kind::Other => {
            format!("see what ssh says: {}", around.ssh("-v", first)).into()
        }
    }
}

/// How to accept a key: by looking at it; and for many, by trusting the network this once.
fn unknown_key(trouble: &Trouble, hosts: &[&Host], first: &Host, around: &Around) -> String {
    let ask = around.ssh("-o StrictHostKeyChecking=ask", first);
    let one = format!("compare the fingerprint and accept it: {ask} true");
    // Where the key is kept, or what leads there, only that configuration knows.
    let name = between(&trouble.said, "host key is known for ", " and you have requested");
    if hosts.len() < 2 || around.own.is_some() {
        return one;
    }
    // What stands in known_hosts for a port of its own: [10.1.1.3]:2222.
    let port = name.and_then(|name| name.strip_prefix('[')?.split_once("]:"));
    let port = port.map(|(_, port)| format!(" -p {}", quoted(port))).unwrap_or_default();
    let names: Vec<_> = hosts.iter().map(|host| around.name(host)).collect();
    format!(
        "{one}; or all of them, on a network where nobody else answers: ssh-keyscan{port} {} >> ~/.ssh/known_hosts",
        names.join(" ")
    )
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(kind: Kind, said: &str, hosts: &[&str], around: &Around) -> String {
        let hosts: Vec<Host> = hosts.iter().map(|host| Host::try_from(*host).unwrap()).collect();
        let trouble = Trouble { kind, said: said.to_owned(), known_in: None, is_early: false };
        advise(&trouble, &hosts.iter().collect::<Vec<_>>(), around).show(None).text
    }

    #[test]
    fn an_unknown_key_is_accepted_by_a_command_that_can_be_typed() {
        let said = "No ED25519 host key is known for [10.1.1.2]:2222 and you have requested strict checking.";
        let around = Around::default();
        insta::assert_snapshot!(
            [
                advice(Kind::UnknownKey, said, &["10.1.1.2"], &around),
                advice(Kind::UnknownKey, said, &["10.1.1.2", "ada@10.1.1.3"], &around),
                advice(Kind::UnknownKey, said, &["red0", "red1"], &Around { own: Some("my conf".into()), ..Around::default() }),
            ].join("\n"),
            @r"
        compare the fingerprint and accept it: ssh -o StrictHostKeyChecking=ask pi@10.1.1.2 true
        compare the fingerprint and accept it: ssh -o StrictHostKeyChecking=ask pi@10.1.1.2 true; or all of them, on a network where nobody else answers: ssh-keyscan -p 2222 10.1.1.2 10.1.1.3 >> ~/.ssh/known_hosts
        compare the fingerprint and accept it: ssh -F 'my conf' -o StrictHostKeyChecking=ask pi@red0 true
        "
        );
    }

    /// A cluster file may say where a machine is that nobody knows by its name.
    #[test]
    fn what_is_typed_leads_where_ssh_looked() {
        let said = "No ED25519 host key is known for 10.1.1.3 and you have requested strict checking.";
        let at = |name: &str| (name.to_owned(), Host::try_from("ada@10.1.1.3").unwrap());
        let around = Around { at: [at("red03")].into(), ..Around::default() };
        let told = advice(Kind::UnknownKey, said, &["red03", "red04"], &around);
        assert!(told.contains(": ssh -o StrictHostKeyChecking=ask ada@10.1.1.3 true;"), "{told}");
        assert!(told.ends_with("ssh-keyscan 10.1.1.3 red04 >> ~/.ssh/known_hosts"), "{told}");
        let eve = Around { user: Some("eve".to_owned()), ..around };
        assert!(advice(Kind::Denied, "", &["red03"], &eve).contains("ssh-copy-id eve@10.1.1.3;"));
        assert!(advice(Kind::Denied, "", &["red04"], &eve).contains("ssh-copy-id eve@red04;"));
    }

    #[test]
    fn a_changed_key_is_forgotten_by_the_name_it_is_kept_under() {
        let said = "Host key for [10.1.1.2]:2222 has changed and you have requested strict checking.";
        let theirs = advice(Kind::ChangedKey, said, &["10.1.1.2"], &Around::default());
        assert!(theirs.contains("ssh-keygen -R '[10.1.1.2]:2222';"), "{theirs}");
        let ours = Around { ours: Some("red.secrets/ssh_config".into()), ..Around::default() };
        let ours = advice(Kind::ChangedKey, said, &["red03"], &ours);
        assert!(ours.contains("builder flash red03") && !ours.contains("ssh-keygen"), "{ours}");
    }

    #[test]
    fn a_port_is_part_of_what_is_typed() {
        let around = Around::default();
        assert_eq!(around.ssh("-v", &Host::try_from("red0:2222").unwrap()), "ssh -v -p 2222 pi@red0");
        assert!(
            advice(Kind::Denied, "", &["ada@red0:2222"], &around).contains("ssh-copy-id -p 2222 ada@red0;")
        );
    }

    #[test]
    fn who_logs_in_is_who_would() {
        let ada = Around { user: Some("ada".to_owned()), ..Around::default() };
        assert!(advice(Kind::Denied, "", &["red0"], &ada).contains("ssh-copy-id ada@red0;"));
        assert!(advice(Kind::Denied, "", &["eve@red0"], &ada).contains("ssh-copy-id eve@red0;"));
        assert!(advice(Kind::Denied, "", &["red0"], &Around::default()).contains("ssh-copy-id pi@red0;"));
        let ours = Around { ours: Some("red.secrets/ssh_config".into()), ..Around::default() };
        assert!(
            advice(Kind::Denied, "", &["red0"], &ours).ends_with("ssh -F red.secrets/ssh_config -v red0")
        );
    }
}
