#!/usr/bin/env bash
# olmoe-healthcheck [PORT]: exit code 0 when the server in this container is ready. By the
# HTTP port, which has neither TLS nor tokens; without curl, which the image does not have.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/${1:-9464}"
printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r _ code _ <&3
[ "$code" = 200 ]
