#!/usr/bin/env bash
# Is there a display, and if not, run a command under a virtual one.
#
#   tools/display.sh present         succeeds where a window can be shown
#   tools/display.sh run COMMAND...  runs the command, under Xvfb where there is no display
set -euo pipefail

present() {
    case "$(uname -s)" in
        Linux | *BSD) [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] ;;
        *) true ;;
    esac
}

case "${1:-}" in
    present)
        present
        ;;
    run)
        shift
        if present; then
            exec "$@"
        fi
        # A virtual display has no graphics card behind it: Mesa draws in software.
        export LIBGL_ALWAYS_SOFTWARE=1 QT_QPA_PLATFORM=xcb
        exec xvfb-run -a -s "-screen 0 1920x1200x24" "$@"
        ;;
    *)
        echo "usage: tools/display.sh present | run COMMAND..." >&2
        exit 2
        ;;
esac
