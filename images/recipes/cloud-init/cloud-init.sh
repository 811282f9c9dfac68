# Raspberry Pi OS with cloud-init since November 2025: seeded from the FAT partition, with nothing in the seed.
put 644 99_raspberry-pi.cfg etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg
put 644 41-rpi-firmware-mount.conf etc/systemd/system/cloud-init-main.service.d/41-rpi-firmware-mount.conf
