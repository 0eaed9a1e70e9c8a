# Before SIGTERM: Envoy's probe fails and it tells its clients to go elsewhere; it still answers who
# has not heard. Open answers have $1 seconds. Bash alone, since Envoy's image has no HTTP client.
set -u
port=${2:-9901}
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
  printf '%s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n' "$1" >&3
  cat <&3
  exec 3>&-
}
ask 'POST /healthcheck/fail' >/dev/null
ask 'POST /drain_listeners?graceful&skip_exit' >/dev/null
# Clients need a moment to hear of it; then it ends when the last answer does.
for ((second = 0; second < $1; second++)); do
  sleep 1
  active=$(ask 'GET /stats?filter=^http.edge.downstream_rq_active$' | sed -n 's/.*downstream_rq_active: //p' | tr -cd 0-9)
  if ((second >= 4)) && [[ ${active:-0} == 0 ]]; then break; fi
done
