# Finds what a run left in this container and kills it; read by the guard, or run by `sh -c THIS`.
# HUNT_RUN: the run's mark; HUNT_INPUT, HUNT_OUTPUT, HUNT_ERRORS: pipes of its command (`none`).
# HUNT_SINCE: ticks since boot; nothing of the run is older.
# HUNT_WHO: `commands`, or `all`: the guard too, whose death lets the input end, so it comes last.
# HUNT_ROUNDS: give up after so many rounds (1); unset: never.
# Sets is_blind where somebody's environment may not be read: whoever left the run's tree and pipes
# could not be told from others.

pids_on_pipes() { # those that read the command's input, or write its outputs
  ls -l /proc/[0-9]*/fd | while IFS= read -r line; do
    case $line in
      /proc/*/fd:) pid=${line#/proc/} pid=${pid%/fd:} ;;
      lr*"-> $HUNT_INPUT" | l?w*"-> $HUNT_OUTPUT" | l?w*"-> $HUNT_ERRORS") echo "$pid" ;;
    esac
  done
}

find_wanted() { # wanted: the pids, each between spaces
  guards=' ' known=" $(echo $(pids_on_pipes)) " alive=' ' pairs=
  for file in /proc/[0-9]*/stat; do
    text=
    while IFS= read -r line; do text="$text$line "; done <"$file" || continue
    pid=${text%% *}
    set -- ${text##*) }
    case $1 in Z | X | '') continue ;; esac
    [ "${20}" -ge "$HUNT_SINCE" ] || continue
    alive="$alive$pid " pairs="$pairs $pid:$2"
    text=$(cat "${file%stat}environ") || [ ! -e "$file" ] || is_blind=yes
    case $text in
      *"BACKUP_GATEWAY_GUARD_OF=$HUNT_RUN"*) guards="$guards$pid " ;;
      *"BACKUP_GATEWAY_RUN=$HUNT_RUN"*) known="$known$pid " ;;
    esac
  done
  known="$known$guards" is_new=yes
  while [ -n "$is_new" ]; do
    is_new=
    for pair in $pairs; do
      pid=${pair%:*}
      case $known in *" $pid "*) continue ;; esac
      case $known in *" ${pair#*:} "*) known="$known$pid " is_new=yes ;; esac
    done
  done
  wanted=' '
  for pid in $known; do
    case $alive in *" $pid "*) ;; *) continue ;; esac
    case $wanted in *" $pid "*) continue ;; esac
    if [ "$HUNT_WHO" = commands ]; then case $guards in *" $pid "*) continue ;; esac; fi
    wanted="$wanted$pid "
  done
}

hunt() {
  quiet=0 round=0 is_blind=
  # /proc is no snapshot: somebody can be born behind the scan.
  while [ "$quiet" -lt 2 ]; do
    # Stopped until none is new: nobody forks on, or acts on an ending input, while others die.
    stopped=' ' is_more=yes
    while [ -n "$is_more" ]; do
      is_more=
      find_wanted
      for pid in $wanted; do
        case $stopped in *" $pid "*) continue ;; esac
        kill -STOP "$pid"
        stopped="$stopped$pid " is_more=yes
      done
    done
    if [ "$stopped" = ' ' ]; then
      quiet=$((quiet + 1))
      continue
    fi
    quiet=0 round=$((round + 1))
    kill -KILL $stopped
    if [ "$round" -gt 1 ]; then
      [ "$round" != "${HUNT_ROUNDS:-}" ] || return 1
      sleep 0.05 || sleep 1
    fi
  done
}

{ hunt; } 2>/dev/null
