#!/bin/sh
# After the installation of the package, deb or rpm. The service is not started.
set -e
if ! id tidemark >/dev/null 2>&1; then
	nologin=/usr/sbin/nologin
	[ -x "$nologin" ] || nologin=/sbin/nologin
	useradd --system --user-group --home-dir /var/lib/tidemark --no-create-home --shell "$nologin" tidemark
fi
mkdir -p /var/lib/tidemark
chown tidemark:tidemark /var/lib/tidemark
chmod 0750 /var/lib/tidemark
chgrp tidemark /etc/tidemark /etc/tidemark/tidemark.env
chmod 0750 /etc/tidemark
chmod 0640 /etc/tidemark/tidemark.env
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart tidemark.service
fi
