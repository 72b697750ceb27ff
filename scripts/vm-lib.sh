# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2153,SC2154 # variables of scripts/vm
# shellcheck disable=SC2054 # commas in the arguments of QEMU
#
# The parts of scripts/vm. Sourced by it, never run.

# tsc=unstable: the guest keeps time by its HPET from the start. Under emulation on a busy host it misjudges the speed of its
# TSC; doubting it later patches code on all CPUs, which emulation does not always survive.
# Nothing is tested of the kernel's cryptography, nor looked for at places of serial ports that are not there.
KERNEL_ARGUMENTS='tsc=unstable console=ttyS0 loglevel=7 printk.time=1 panic=-1 oops=panic net.ifnames=0 mitigations=off'
KERNEL_ARGUMENTS+=' cryptomgr.notests 8250.nr_uarts=1'

# Lines of the kernel's log that no healthy run has.
SPLATS='BUG:|WARNING:|Oops|KASAN|KFENCE|UBSAN|kmemleak: [0-9]+ new|unreferenced object|INFO: (task|rcu)|rcu: INFO'
SPLATS+='|possible (recursive|circular) locking|inconsistent lock state|suspicious RCU|sleeping function called'
SPLATS+='|bad page|Bad page|refcount_t:|list_(add|del) corruption|page_table_check|soft lockup|hard LOCKUP'
SPLATS+='|general protection fault|kernel BUG|stack-protector|Kernel panic|lock held when returning'
SPLATS+='|held lock freed|blocked for more than|scheduling while atomic|double free|use-after-free|unable to handle'
SPLATS+='|rust_kernel: panicked|panicked at'

# unpacked_kernel PACKAGES: prints the path of Debian's kernel, unpacked here and once: in an emulated machine that takes longer
# than the rest of what the kernel does before its first line. One that is not packed with zstd stays as it is.
unpacked_kernel() {
	cache_entry vmlinux "$(key_of "${1##*-}" vmlinux)" unpack_kernel "$1/vmlinuz"
}
unpack_kernel() {
	local vmlinuz=$1 sectors start length
	# The kernel's Documentation/arch/x86/boot.rst: setup_sects, payload_offset and payload_length, with the size behind it.
	sectors=$(od -An -tu1 -j 497 -N 1 "$vmlinuz")
	read -r start length < <(od -An -tu4 -j 584 -N 8 "$vmlinuz")
	start=$(((sectors + 1) * 512 + start))
	if [[ $(od -An -tx4 -j "$start" -N 4 "$vmlinuz") == ' fd2fb528' ]]; then
		head -c $((start + length - 4)) "$vmlinuz" | tail -c +$((start + 1)) | "$TOP/scripts/in-toolchain" zstd -dqc >"$2/vmlinux"
	else
		cp "$vmlinuz" "$2/vmlinux"
	fi
}

# boot_image DIR: prints the kernel's image in DIR that boots fastest.
boot_image() {
	local name
	for name in vmlinux bzImage vmlinuz; do
		if [[ -e $1/$name ]]; then
			realpath "$1/$name"
			return
		fi
	done
	return 1
}

# make_run: makes the folder $run for this run, and removes those of runs that were killed. A run in progress holds the
# lock in its folder; QEMU inherits that.
make_run() {
	local old
	exec 7>"$CACHE/.lock-run"
	flock 7
	for old in "$CACHE"/run.*; do
		[[ ! -d $old ]] || ! flock -n "$old/lock" true || rm -rf "$old"
	done
	run=$(mktemp -d "$CACHE/run.XXXXXX")
	exec 8>"$run/lock"
	flock 8
	exec 7>&-
	trap 'rm -rf "$run"' EXIT
}

# build_all KERNEL: what is run in the guest; quick when nothing changed, and silent when it works.
build_all() {
	local output
	output=$(make --no-print-directory -C "$TOP" ship SHIP_KERNEL="$1" 2>&1) || {
		say "$output"
		say 'vm: the build failed (--no-module boots without geist, --no-build with what was built before)'
		exit 2
	}
}

# pack_ship FILE KERNEL MODULE: the files that come from this checkout, as an archive with their places in the guest.
# It depends on nothing but their contents: a guest's disk remembers which one it has.
pack_ship() {
	local root=$run/ship
	mkdir -p "$root/usr/lib/geist/guest" "$root/usr/sbin"
	cp "$TOP/tools/testing/guest/init" "$TOP/tools/testing/guest/fstab" "$root/usr/lib/geist/guest/"
	if [[ -n $3 ]]; then
		local built
		built=build/$(basename "$2")/geist.ko
		[[ -e $TOP/$built ]] || wrong "there is no $built; leave out --no-build, or boot without the module (--no-module)"
		cp "$TOP/$built" "$root/usr/lib/geist/geist.ko"
	fi
	if [[ -e $TOP/build/client/geist ]]; then cp "$TOP/build/client/geist" "$root/usr/sbin/geist"; fi
	if [[ -d $TOP/build/tests ]]; then cp -r "$TOP/build/tests" "$root/usr/lib/geist/tests"; fi
	tar -cf "$1" -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1000000000 usr/lib/geist usr/sbin
}

# pack_command FILE COMMAND...: what to do in the guest.
pack_command() {
	local file=$1 root=$run/command
	shift
	mkdir "$root"
	{
		printf 'module=%s\nshare=%s\nleaks=%s\ntimeout=%s\n' "$module" "${share:+1}" "$leaks" "$timeout"
		if [[ -n $interactive ]]; then
			local size
			size=$(stty size)
			printf 'terminal=%q\nrows=%s\ncolumns=%s\n' "$TERM" "${size% *}" "${size#* }"
		fi
	} >"$root/settings"
	if (($# == 1)); then printf '%s\n' "$1"; elif (($#)); then printf 'exec %s\n' "${*@Q}"; fi >"$root/command"
	tar -cf "$file" -C "$root" .
}

# check_disk DISK BASE: refuses a disk whose base image has gone or is not today's.
check_disk() {
	local its
	its=$("$QEMU/qemu-img" info -U --output=json "$1" 2>/dev/null | sed -n 's/.*"full-backing-filename": "\(.*\)",\?$/\1/p')
	[[ -n $its ]] || wrong "--disk: '$1' is no disk that this script made"
	[[ -e $its ]] || wrong "--disk: '$1' builds on the guest image $its, which has gone; remove '$1' to start afresh"
	[[ $its == "$2" ]] || say "vm: note: '$1' builds on an older guest image"
}

make_disk() {
	"$QEMU/qemu-img" create -q -f qcow2 -F raw -b "$2" "$1" || wrong "the disk '$1' could not be made"
}

# machine ACCELERATION ARGUMENT...: becomes QEMU; the only place that knows how it is called. Four-level page tables only:
# while the kernel identifies its CPU, KASAN takes an interrupt's accesses for wild ones with five (seen). A thread for
# each emulated CPU, which only a QEMU like that of scripts/qemu survives: with Debian 12's a CPU may run code that another has
# just patched as it was in between, an int3 that nobody knows of any more; but one for all where their instructions are the
# clock. No fast strings: a CPU moves 32 bytes a
# cycle with `rep movsb`, this emulation one byte an iteration, and with `rep movsq`, which the kernel takes otherwise, eight.
machine() {
	local threads=multi cpu
	[[ " $* " != *" -icount "* ]] || threads=single
	cpu=(-accel "tcg,thread=$threads" -cpu max,la57=off,erms=off,fsrm=off,fsrs=off,fzrm=off)
	[[ $1 == tcg ]] || cpu=(-accel kvm -cpu host,la57=off)
	shift
	exec "$QEMU/qemu-system-x86_64" "${cpu[@]}" -machine q35 -bios qboot.rom -nodefaults -no-user-config -display none -no-reboot "$@"
}

# acceleration WANTED KERNEL INITRAMFS: prints kvm or tcg. That /dev/kvm exists says little: a boot with a time limit
# is tried, once for each boot of this host.
acceleration() {
	local verdict
	[[ $1 == auto ]] || {
		echo "$1"
		return
	}
	verdict=$CACHE/kvm-$(key_of "$(</proc/sys/kernel/random/boot_id)" "$2" "$(id -u)")
	if [[ ! -e $verdict ]]; then
		rm -f "$CACHE"/kvm-*
		if [[ ! -e /dev/kvm ]]; then
			echo tcg >"$verdict"
			say 'vm: this host has no /dev/kvm; emulating the CPU (TCG), which is 10 to 50 times slower'
		elif probe "$2" "$3"; then
			echo kvm >"$verdict"
		else
			echo tcg >"$verdict"
			say 'vm: /dev/kvm does not run a kernel here; emulating the CPU (TCG), which is 10 to 50 times slower'
		fi
	fi
	cat "$verdict"
}
probe() {
	export -f machine
	# shellcheck disable=SC2016
	timeout -k 1 15 bash -c 'machine "$@"' vm kvm -m 512 -smp 2 -kernel "$1" -initrd "$2" \
		-append "$KERNEL_ARGUMENTS geist.probe=1" -serial "file:$run/probe" -monitor none \
		</dev/null >/dev/null 2>&1
	grep -qs 'geist-guest: it boots' "$run/probe"
}

# output_then_crash: passes COMMAND's output on and cuts the power $crash ms after its first line.
output_then_crash() {
	local line
	IFS= read -r line || return
	printf '%s\n' "$line"
	{
		read -rt "$(printf '%d.%03d' $((crash / 1000)) $((crash % 1000)))" <> <(:) || : >"$run/crashed"
		kill -KILL "$(<"$run/pid")"
	} 2>/dev/null &
	cat
	wait
}

# run_machine ACCELERATION ARGUMENT...: until it is off, or the time is up (then the file $run/timeout is there).
run_machine() {
	local acceleration=$1 limit=() qemu readers=() qemu_status=0
	shift
	if [[ -n $interactive ]]; then
		(machine "$acceleration" "$@") || wrong 'QEMU could not start the machine'
		return
	fi
	if [[ -n $crash ]]; then
		output_then_crash <"$run/out" &
	else
		cat "$run/out" &
	fi
	readers+=($!)
	cat "$run/err" >&2 &
	readers+=($!)
	export -f machine
	if ((timeout)); then limit=(timeout -k 5 "$timeout"); fi
	# shellcheck disable=SC2016
	"${limit[@]}" bash -c 'echo $$ >"$0"; machine "$@"' "$run/pid" "$acceleration" "$@" \
		</dev/null 2>"$run/qemu" &
	qemu=$!
	trap 'kill "$qemu" 2>/dev/null; rm -rf "$run"' EXIT
	# Of a machine that is killed the shell would say so; the exit status says it better.
	{ wait "$qemu" || qemu_status=$?; } 2>/dev/null
	trap 'rm -rf "$run"' EXIT
	# Should QEMU never have opened them, the readers still wait for that.
	: <>"$run/out"
	: <>"$run/err"
	wait "${readers[@]}"
	((qemu_status != 124 && qemu_status != 137)) || [[ -n $crash && -e $run/crashed ]] || : >"$run/timeout"
	if [[ ! -s $log && ! -e $run/timeout ]]; then
		cat "$run/qemu" >&2
		wrong 'QEMU could not start the machine'
	fi
}

# verdict: prints what was wrong with the run, and exits with its status.
verdict() {
	local code splats first
	splats=$(grep -aEn -- "$SPLATS" "$log" | tr -d '\r' || true)
	grep -a 'geist-guest: ' "$log" | sed 's/.*geist-guest: /vm: in the guest: /' >&2 || true
	sed -n 's/^\(problem\|oops\) /vm: in the guest: /p' "$run/status" >&2
	if [[ -n $splats ]]; then
		say 'vm: the kernel reported:'
		# From the first report on: what comes before it is of no interest, what comes after it may be.
		first=${splats%%:*}
		tr -d '\r' <"$log" | sed -n "$first,$((first + 59))s/^/  | /p" >&2
	fi
	code=$(sed -n 's/^exit //p' "$run/status")
	if grep -qaE 'Oops|BUG: unable|kernel BUG|general protection fault' "$log" || grep -q '^oops' "$run/status"; then
		exit 102
	elif grep -qa 'Kernel panic' "$log"; then
		exit 101
	elif [[ -n $splats ]] || grep -q '^problem' "$run/status"; then
		exit 103
	elif [[ -e $run/timeout ]]; then
		say "vm: the time of $timeout s is up; the kernel's last words:"
		tail -n 15 "$log" | tr -d '\r' | sed 's/^/  | /' >&2
		exit 104
	elif [[ -e $run/crashed ]]; then
		exit 106
	elif [[ -z $code ]]; then
		say "vm: the machine ended without saying why; the kernel's last words:"
		tail -n 15 "$log" | tr -d '\r' | sed 's/^/  | /' >&2
		exit 105
	fi
	exit "$code"
}
