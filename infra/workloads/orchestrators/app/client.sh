# A visitor: asks the app about twenty times a second, whatever became of the last question, and
# gives up after a second. Prints of each question when it was asked and when that was over, in
# seconds of the machine's clock, and the answer.
# $1 is where: NAME:PORT. Where DNS has several addresses for a name, they are taken in turn.
name=${1%:*} port=${1#*:} turn=0

address() {
  last=
  set --
  for word in $(timeout 1 nslookup -type=a "$name" 2>/dev/null); do
    case "$last $word" in
      "Address: "*[!0-9.]*) ;;
      "Address: "*) set -- "$@" "$word" ;;
    esac
    last=$word
  done
  [ $# -eq 0 ] || shift $((turn % $#))
  echo "$1"
}

ask() {
  read -r begun _ </proc/uptime
  case $name in
    *[!0-9.]*) host=$(address) ;;
    *) host=$name ;;
  esac
  answer=
  [ -z "$host" ] || answer=$(timeout 1 wget -q -O - "http://$host:$port/" 2>/dev/null)
  read -r ended _ </proc/uptime
  echo "$begun $ended $answer"
}

while :; do
  ask &
  turn=$((turn + 1))
  usleep 50000
done
