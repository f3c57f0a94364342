#!/bin/sh
# After the package is removed. Data and user stay until a purge, which only deb has.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ]; then
	rm -rf /var/lib/tidemark /etc/tidemark
	if id tidemark >/dev/null 2>&1; then
		userdel tidemark
	fi
fi
