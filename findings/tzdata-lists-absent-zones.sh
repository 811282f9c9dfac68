#!/bin/sh
# Guess: tzdata.zi, the text form of the time zone database that Debian's tzdata installs, lists the zones that the package
# installs. So a program can check a name against that one file.
#
# Reality (Debian 13): the package tzdata no longer contains files for the older names of zones; they are in tzdata-legacy. Its
# tzdata.zi still lists them. `US/Eastern` is in the list, but /usr/share/zoneinfo/US/Eastern does not exist. The list is still
# useful, because it gives the current name of such a zone.
#
# Needs: apt, dpkg-deb, Debian's archive key, a Debian mirror (DEBIAN_MIRROR, otherwise the machine's own). Downloads package lists and one package into a temporary folder.
set -eu
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/*$')}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/lists/partial" "$folder/archives/partial"
: >"$folder/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$folder/sources.list"
cat >"$folder/apt.conf" <<CONF
Dir::State "$folder";
Dir::State::status "$folder/status";
Dir::Cache "$folder";
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
APT::Sandbox::User "";
CONF
export APT_CONFIG="$folder/apt.conf"
cd "$folder"
apt-get update -qq
apt-get download -qq tzdata
dpkg-deb -x tzdata_*.deb tree
echo "tzdata $(dpkg-deb -f tzdata_*.deb Version)"
zones=tree/usr/share/zoneinfo
failed=0
for pair in US/Eastern=America/New_York Asia/Calcutta=Asia/Kolkata Canada/Atlantic=America/Halifax; do
    old=${pair%=*} today=${pair#*=}
    grep -qx "L $today $old" "$zones/tzdata.zi" || { echo "tzdata.zi no longer lists $old"; failed=1; }
    [ ! -e "$zones/$old" ] || { echo "$old is a file again"; failed=1; }
    [ -e "$zones/$today" ] || { echo "$today is not a file"; failed=1; }
    echo "$old: in tzdata.zi as an older name of $today, but not a file in the package"
done
exit $failed
