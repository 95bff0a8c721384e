# The guard of a command in a container: `sh -c THIS guard COMMAND HUNT`, with the exec's stdin as its
# control pipe. POSIX sh: dash, bash and busybox have been seen to run it.
#
# What it is told: a line MARK SIZE (SIZE `-`: the command gets no input), then SIZE bytes of input,
# and once all of them were taken MARK again. Only then the command sees the end of its input.
# Anything else, or an end, means that the worker is gone or wants an end: everything is killed, the
# input still open. What it tells: lines on stderr that begin with MARK; and what came on stdout is
# whole once MARK follows it. Nobody but the worker and this shell knows MARK.

IFS=' ' read -r mark size || exit 0
exec 3<&0 4>&1 5>&2 </dev/null 2>/dev/null
say() { printf '%s %s\n' "$mark" "$*" >&5; }
for program in cat head ls readlink sleep wc; do
  command -v "$program" >/dev/null || { say refused "$program"; exit 0; }
done
HUNT_RUN=$BACKUP_GATEWAY_GUARD_OF HUNT_OUTPUT=none
# Caught, not ignored: the command and its children start with the usual reaction.
trap : HUP INT QUIT TERM USR1 USR2

{
  trap : HUP INT QUIT TERM USR1 USR2
  exec 6>&1 >/dev/null
  read -r text </proc/$$/stat
  set -- "$1" "$2" ${text##*) }
  HUNT_SINCE=${22}
  HUNT_INPUT=$(readlink /proc/self/fd/6) HUNT_ERRORS=$(readlink /proc/self/fd/5)
  say guard "${HUNT_INPUT:-none}" "${HUNT_ERRORS:-none}" "$HUNT_SINCE"
  is_whole=yes
  if [ "$size" != - ]; then
    [ "$size" = 0 ] || head -c "$size" <&3 >&6 || is_whole=
    say taken
    IFS= read -r word <&3 && [ "$word" = "$mark" ] || is_whole=
  fi
  if [ -n "$is_whole" ]; then
    exec 6>&-
    IFS= read -r word <&3
  fi
  HUNT_WHO=commands
  eval "$2"
  say clear "$is_blind"
} | {
  trap : HUP INT QUIT TERM USR1 USR2
  exec 6<&0 </dev/null
  {
    trap : HUP INT QUIT TERM USR1 USR2
    exec 7>&1
    output=$(readlink /proc/self/fd/7)
    [ "$size" != - ] || exec 6</dev/null
    say command "${output:-none}"
    (
      unset BACKUP_GATEWAY_GUARD_OF
      export BACKUP_GATEWAY_RUN="$HUNT_RUN"
      # In a session of its own, where that can be had: what it does to its group is not for us.
      own=$(command -v setsid)
      exec ${own:+setsid} sh -c "$1" sh <&6 2>&5 3<&- 4>&- 5>&- 6<&- 7>&-
    )
    code=$?
    exec >/dev/null 7>&-
    say exit "$code"
    [ "$size" = - ] || say unread $(wc -c <&6)
  } | {
    trap : HUP INT QUIT TERM USR1 USR2
    cat >&4 && printf %s "$mark" >&4
  }
}
