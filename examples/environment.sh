# shellcheck shell=bash
# To be sourced, by bash:  . examples/environment.sh  and then  set_up_environment quickstart|test
#
# Makes, completes or re-uses .venv at the project's root, puts it on PATH, and says each step with its seconds.
#   VENV=DIR      use this environment as it is, and install nothing
#   PYTHON=...    the Python to make .venv with (default python3): 3.11, 3.12 or 3.13
#   TORCH=...     which torch to install (default torch==2.13.0)
# uv is used where it is on PATH, pip otherwise. No compiler is needed: see mixkd_plugin/fairseq_fixes/data_utils_fast.py.

MIXKD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

set_up_environment() { # EXTRA of setup.py
    local venv=${VENV:-$MIXKD_ROOT/.venv}
    if [ -z "${VENV:-}" ]; then
        _mixkd_install "$venv" "$1" || return 1
    elif ! "$venv/bin/python" -c 'import fairseq' >/dev/null 2>&1; then
        echo "VENV=$VENV has no bin/python that can import fairseq: install it there, or unset VENV" >&2
        return 1
    else
        venv=$(cd "$venv" && pwd)
        export PYTHONPATH="$MIXKD_ROOT${PYTHONPATH:+:$PYTHONPATH}"
    fi
    export PATH="$venv/bin:$PATH"
    export OMP_WAIT_POLICY=PASSIVE # else waiting threads spin: many times slower on a shared CPU
}

_mixkd_install() { # VENV EXTRA
    local venv=$1 extra=$2 torch=${TORCH:-torch==2.13.0} python=${PYTHON:-python3}
    local busy=$venv.busy log=$venv.log installer=pip want
    local -a install=("$venv/bin/python" -m pip install --use-pep517)
    want="$torch $venv $(cksum <"$MIXKD_ROOT/setup.py")"
    if [ ! -e "$busy" ] && _mixkd_is_ready; then return; fi

    # One set-up at a time. The file outlives an interrupt or a failure: then nothing in .venv can be trusted.
    while ! (set -o noclobber && echo $$ >"$busy") 2>/dev/null; do
        # shellcheck disable=SC2046 # any of the processes in it
        if kill -0 $(cat "$busy") 2>/dev/null; then
            echo "Waiting for another set-up of .venv (process $(head -n 1 "$busy"); if it is none, remove $busy)"
            # shellcheck disable=SC2046
            while kill -0 $(cat "$busy" 2>/dev/null) 2>/dev/null; do sleep 1; done
        else
            echo "The last set-up of .venv did not finish: starting afresh"
            rm -rf "$venv" "$busy"
        fi
    done
    if _mixkd_is_ready; then rm -f "$busy" && return; fi

    if command -v uv >/dev/null; then
        installer=uv
        install=(uv pip install --python "$venv/bin/python")
        local -x UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS// /,}}
        [ -n "$UV_FIND_LINKS" ] || unset UV_FIND_LINKS
    fi
    if ! "$venv/bin/python" -c '' 2>/dev/null || ! grep -qF "$venv" "$venv/bin/activate"; then # absent, broken, moved
        _mixkd_check_python || return 1
        rm -rf "$venv"
        if [ "$installer" = uv ]; then
            _mixkd_step "Making .venv" uv venv --seed --python "$(command -v "$python")" "$venv" || return 1
        else
            _mixkd_step "Making .venv" "$python" -m venv "$venv" || return 1
        fi
    fi
    # torch comes first and fairseq is built against it: an isolated build would download a second torch.
    # READTHEDOCS is fairseq's own switch for compiling nothing. torch is named again, or a newer torchaudio would replace it.
    _mixkd_step "Installing $torch with $installer" "${install[@]}" "$torch" &&
        _mixkd_step "Installing what builds fairseq" "${install[@]}" setuptools wheel cython numpy &&
        _mixkd_step "Installing fairseq and mixkd_plugin[$extra]" \
            env READTHEDOCS=1 "${install[@]}" --no-build-isolation "$torch" -e "${MIXKD_ROOT}[$extra]" || return 1
    echo "$want" >"$venv/ready-$extra"
    rm -f "$busy" "$log"
}

# The functions below share the variables of _mixkd_install.

_mixkd_is_ready() {
    [ "$(cat "$venv/ready-$extra" 2>/dev/null)" = "$want" ] && "$venv/bin/python" -c ''
}

_mixkd_check_python() {
    local version
    if ! version=$("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null); then
        echo "$python was not found or does not run: install Python 3.11, or set PYTHON" >&2
    elif [[ ! $version =~ ^3\.1[123]\. ]]; then
        echo "$python is Python $version, and the set-up needs 3.11, 3.12 or 3.13: set PYTHON" >&2
    else
        return 0
    fi
    rm -f "$busy"
    return 1
}

_mixkd_step() { # MESSAGE COMMAND...
    local message=$1 start=$SECONDS
    shift
    printf '%s ... ' "$message"
    # The command's process, too, holds the set-up: an installer may outlive an interrupted script.
    if bash -c 'echo $$ >>"$0" && exec "$@"' "$busy" "$@" >"$log" 2>&1; then
        printf '%d s\n' $((SECONDS - start))
        return 0
    fi
    printf 'failed after %d s\n' $((SECONDS - start))
    grep -v '^WARNING' "$log" | tail -n 15 >&2
    if grep -qiE 'name resolution|NewConnectionError|failed to fetch|dns error|unreachable|refused|timed out' "$log"; then
        echo "$message failed: no package index could be reached; is there a network?" >&2
    else
        echo "$message failed: the reason is above, and in $log" >&2
    fi
    return 1
}
