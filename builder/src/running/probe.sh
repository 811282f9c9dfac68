# Each answer is a line of its own, whatever was printed before without a line end: a login may set the terminal's title.
say() { printf "\nbuilder:%s %s\n" "$1" "$2"; }
line() { tr "\n\r" "  "; }
# What only root may read. It is the argument of another shell, so it has no single quotes.
inner='
exec </dev/null
say() { printf "\nbuilder:%s %s\n" "$1" "$2"; }
line() { tr "\n\r" "  "; }
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
say agent "$(sha256sum /usr/local/lib/firstboot/firstboot 2>/dev/null)"
say certificate "$(sha256sum /var/lib/firstboot/node.pem 2>/dev/null)"
say proxy "$(sha256sum /var/lib/firstboot/proxy.json 2>/dev/null)"
say card "$(cat /var/lib/firstboot/card.json 2>/dev/null | line)"
say state "$(ls /var/lib/docker/swarm/docker-state.json 2>/dev/null)"
say info "$(timeout 20 docker info --format "{{json .}}" 2>/dev/null | head -n 1)"
say daemon "$(cat /etc/docker/daemon.json 2>/dev/null | line)"
say rootless "$(ls -d /run/user/*/docker.sock 2>/dev/null | line)"
'
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
    say route "$(ip -4 -o route get 192.0.2.1 2>/dev/null | line)"
    say free "$(df -Pk /var 2>/dev/null | tail -n 1)"
    say docker "$(command -v dockerd)"
    say snap "$(ls -d /snap/docker/current 2>/dev/null)"
    say packages "$(dpkg-query -W -f "\${Package}=\${db:Status-Status} " containerd containerd.io runc 2>/dev/null)"
    say active "$(systemctl is-active firstboot.service 2>/dev/null)"
    say pios "$(ls /etc/rpi-issue 2>/dev/null)"
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        say controllers "2 $(cat /sys/fs/cgroup/cgroup.controllers)"
    else
        say controllers "1 $(grep "^memory" /proc/cgroups 2>/dev/null)"
    fi
    if [ "$(id -u)" = 0 ]; then
        say root yes
        sh -c "$inner"
    elif why=$(sudo -n true 2>&1); then
        say root sudo
        sudo -n sh -c "$inner"
    elif [ -z "$password" ]; then
        say root no
        say sudo "$(printf %s "$why" | tr "\n\r" "| ")"
    elif try 2>/dev/null; then
        say root password
        printf "%s\n" "$password" | sudo -S -p "" sh -c "$inner" 2>/dev/null
    else
        say root refused
        say sudo "$(printf %s "$why" | tr "\n\r" "| ")"
    fi
}
ask </dev/null
say end yes
