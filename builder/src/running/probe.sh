say() { printf "builder:%s %s\n" "$1" "$2"; }
first() { head -n 1 | tr -d "\r"; }
ask() {
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    LC_ALL=C
    export PATH LC_ALL
    say name "$(uname -n)"
    say machine "$(uname -m)"
    say arch "$(dpkg --print-architecture 2>/dev/null)"
    say boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
    say time "$(date +%s)"
    say system "$(. /etc/os-release 2>/dev/null; printf %s "$PRETTY_NAME")"
    if [ -d /run/systemd/system ]; then say systemd yes; fi
    say route "$(ip -4 -o route get 192.0.2.1 2>/dev/null | first)"
    say free "$(df -Pk /var 2>/dev/null | tail -n 1)"
    say docker "$(command -v dockerd)"
    say active "$(systemctl is-active firstboot.service 2>/dev/null)"
    root=
    if [ "$(id -u)" = 0 ]; then
        say root yes
    elif why=$(sudo -n true 2>&1); then
        say root sudo
        root="sudo -n"
    else
        say root no
        say sudo "$(printf "%s\n" "$why" | first)"
        return
    fi
    say agent "$($root sha256sum /usr/local/lib/firstboot/firstboot 2>/dev/null)"
    say certificate "$($root sha256sum /var/lib/firstboot/node.pem 2>/dev/null)"
    say proxy "$($root sha256sum /var/lib/firstboot/proxy.json 2>/dev/null)"
    say card "$($root cat /var/lib/firstboot/card.json 2>/dev/null | tr -d "\n\r")"
    say swarm "$($root timeout 20 docker info --format "{{.Swarm.LocalNodeState}}" 2>/dev/null | first)"
    say state "$($root ls /var/lib/docker/swarm/docker-state.json 2>/dev/null)"
}
ask </dev/null
say end yes
