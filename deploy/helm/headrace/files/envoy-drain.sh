# Before SIGTERM: Envoy tells its clients to go elsewhere and takes no new connections, while open
# answers have $1 seconds. Bash alone, since Envoy's image has no HTTP client.
set -u
ask() {
  exec 3<>/dev/tcp/127.0.0.1/9901 || return 1
  printf '%s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n' "$1" >&3
  cat <&3
  exec 3>&-
}
ask 'POST /drain_listeners?graceful&skip_exit' >/dev/null
until_s=$((SECONDS + $1))
while ((SECONDS < until_s)); do
  sleep 1
  active=$(ask 'GET /stats?filter=downstream_rq_active&usedonly&format=text' |
    sed -n 's/^http\.edge\..*downstream_rq_active: \([0-9]*\).*/\1/p')
  if [[ ${active:-0} == 0 ]] && ((SECONDS > until_s - $1 + 5)); then break; fi
done
