#!/bin/sh
# A stand-in for uv: `venv … FOLDER` makes a folder with an interpreter, `pip install …` puts packages into it.
echo "$@" >> "$FAKE_UV_CALLS"
if [ "$1" = venv ]; then
  for last; do :; done
  mkdir -p "$last/bin" "$last/lib/python$FAKE_UV_PYTHON/site-packages"
  printf '#!/bin/sh\nexit ${FAKE_IMPORT_STATUS:-0}\n' > "$last/bin/python"
  chmod +x "$last/bin/python"
  exit 0
fi
[ -n "$UV_INDEX" ] && echo "in the environment: $UV_INDEX" >> "$FAKE_UV_CALLS"
[ -n "$FAKE_UV_FAILS" ] && { echo "error: $FAKE_UV_FAILS" >&2; exit 2; }
[ -n "$FAKE_UV_TELLS" ] && echo $$ > "$FAKE_UV_TELLS"
[ -n "$FAKE_UV_HANGS" ] && exec sleep 600
[ -n "$FAKE_UV_SLEEP" ] && sleep "$FAKE_UV_SLEEP"
while [ $# -gt 0 ]; do [ "$1" = --python ] && python="$2"; shift; done
packages="$(dirname "$(dirname "$python")")/lib/python$FAKE_UV_PYTHON/site-packages"
mkdir -p "$packages/vllm" "$packages/torch"
echo "Resolved 2 packages in 1ms" >&2
echo "Downloading torch (500.0MiB)" >&2
echo " Downloaded torch" >&2
echo "Installed 2 packages in 1ms" >&2
