# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts of the machine room share: messages, progress, the cache. Sourced, never run.

set -euo pipefail

# The checkout, and the one folder outside it that is ever written to.
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/geist
# Debian's release for the toolchain and the guest, and its kernel; see "Versions" in README.md.
SUITE=trixie
KERNEL=${KERNEL:-7.3.4+deb13-amd64}
export TOP CACHE SUITE KERNEL

say() { printf '%s\n' "$*" >&2; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# usage_of FILE: the comment block at the head of FILE, which is its help text.
usage_of() {
	awk 'NR <= 2 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$1"
}

# help_if_asked FILE ARGS...: for scripts whose only option is --help.
help_if_asked() {
	local file=$1
	shift
	case ${1-} in
	-h | --help)
		usage_of "$file"
		exit 0
		;;
	-*) die "unknown option '$1'; see ${file##*/} --help" ;;
	esac
}

# key_of WORD... - FILE...: a short hash of the words and of the files' contents.
key_of() {
	{
		while [[ $# -gt 0 && $1 != - ]]; do
			printf '%s\n' "$1"
			shift
		done
		[[ $# -eq 0 ]] || shift
		local file
		for file; do
			[[ -e $file ]] || die "$file is missing from the checkout"
			cat "$file"
		done
	} | sha256sum | cut -c1-12
}

# duration SECONDS: for people.
duration() {
	if (($1 >= 100)); then printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); else printf '%d s' "$1"; fi
}

# step TITLE SECONDS LINES COMMAND...: runs a long COMMAND whose output nobody wants to read: it goes to a log,
# and is shown only when COMMAND fails. SECONDS and LINES (of output) are what it usually takes.
step() {
	local title=$1 usual=$2 lines=$3 log status
	shift 3
	mkdir -p "$CACHE/log"
	log=$CACHE/log/$(tr -cs 'a-zA-Z0-9' - <<<"$title" | head -c 40)$$.log
	say "$title (usually $(duration "$usual"))"
	local start=$SECONDS
	set +e
	"$@" </dev/null 2>&1 | progress "$log" "$lines"
	status=${PIPESTATUS[0]}
	set -e
	if ((status)); then
		say "  failed after $(duration $((SECONDS - start))); the end of $log:"
		tail -n 30 "$log" | sed 's/^/  | /' >&2
		return "$status"
	fi
	say "  done in $(duration $((SECONDS - start)))"
	rm -f "$log"
}

# progress LOG LINES: copies the input to LOG and says how far it is: one line that changes on a terminal,
# else a line every minute.
progress() {
	local log=$1 lines=$2 n=0 start=$SECONDS next=60 shown=-1 line now
	: >"$log"
	while IFS= read -r line || [[ -n $line ]]; do
		printf '%s\n' "$line" >>"$log"
		n=$((n + 1)) now=$((SECONDS - start))
		local percent=$((n * 100 / lines))
		((percent < 100)) || percent=99
		if [[ -t 2 ]]; then
			if ((now != shown)); then
				printf '\r\033[K  %d %%, %s: %.60s' "$percent" "$(duration "$now")" "${line//[$'\t\r\e']/ }" >&2
				shown=$now
			fi
		elif ((now >= next)); then
			say "  $percent % after $(duration "$now")"
			next=$((now + 60))
		fi
	done
	if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi
}

# cache_entry NAME KEY BUILDER...: prints the path of the cache entry NAME made from KEY, calling BUILDER with an
# empty folder as its last argument to make it when it is not there. An entry appears complete or not at all.
cache_entry() {
	local name=$1 entry=$CACHE/$1-$2 temp
	shift 2
	if [[ ! -d $entry ]]; then
		mkdir -p "$CACHE"
		(
			if ! flock -n 9; then
				say "another build is making '$name'; waiting for it"
				flock 9
			fi
			[[ ! -d $entry ]] || exit 0
			# With the lock held, whatever is left of this name is of a build that was interrupted.
			remove_tree "$CACHE/.making-$name".*
			temp=$(mktemp -d "$CACHE/.making-$name.XXXXXX")
			chmod 755 "$temp"
			"$@" "$temp" 9>&- || exit
			mv -T "$temp" "$entry"
		) 9>"$CACHE/.lock-$name" >&2 || die "could not make '$name'"
	fi
	printf '%s\n' "$entry"
}

# remove_tree PATH...: also where a user namespace was needed to make it.
remove_tree() {
	local path
	for path; do
		[[ -e $path ]] || continue
		if grep -qs -- " $path" /proc/self/mounts; then
			die "$path still has something mounted in it; unmount that first"
		fi
		chmod -R u+w "$path" 2>/dev/null || true
		rm -rf "$path"
	done
}
