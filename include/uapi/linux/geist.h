/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * geist: incremental checkpoint and restart of running applications.
 *
 * The interface of /dev/geist. Every structure starts with its own size in
 * bytes: a newer program on an older module (or the reverse) works as long as
 * the bytes that the other side does not know are zero; otherwise the call
 * fails with E2BIG. Reserved fields and undefined flags must be zero (EINVAL).
 *
 * Errors are an errno and a sentence. The sentence (ASCII, without a final
 * newline, always terminated by a zero byte) is written to @message whenever
 * a call fails and @message is not NULL; @message_len is the size of that
 * buffer in bytes.
 */
#ifndef _UAPI_LINUX_GEIST_H
#define _UAPI_LINUX_GEIST_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Version of this interface. */
#define GEIST_ABI_VERSION	1

/* Longest description of a version, in bytes, without a final zero. */
#define GEIST_DESCRIPTION_MAX	4095

/**
 * struct geist_info - what the module is (GEIST_IOC_INFO)
 * @size:		in: size of this structure in bytes
 * @abi_version:	out: GEIST_ABI_VERSION of the module
 * @format_version:	out: version of the image format that it writes
 * @applications:	out: applications that are tracked
 */
struct geist_info {
	__u32 size;
	__u32 abi_version;
	__u32 format_version;
	__u32 applications;
};

/* What becomes of the application after the checkpoint: default, it runs on. */
#define GEIST_CHECKPOINT_KILL			(1U << 0)	/* @signal is sent once committed */
#define GEIST_CHECKPOINT_STOP			(1U << 1)	/* it is stopped (SIGSTOP) */
/* Descriptors that cannot be checkpointed are left out and listed. */
#define GEIST_CHECKPOINT_IGNORE_UNSUPPORTED_FILES	(1U << 2)
/* A complete version, although there is one to build on. */
#define GEIST_CHECKPOINT_FULL			(1U << 3)

/* How much of a version is on the disk when the call returns. */
#define GEIST_DURABILITY_NONE	0U	/* in the page cache */
#define GEIST_DURABILITY_DATA	1U	/* files and directory flushed */

/**
 * struct geist_checkpoint - take one version (GEIST_IOC_CHECKPOINT)
 * @size:		in: size of this structure in bytes
 * @flags:		in: GEIST_CHECKPOINT_*
 * @pid:		in: process, in the caller's pid namespace
 * @dir_fd:		in: directory of the application in the store, open for reading,
 *			with an exclusive flock(2) of the caller (else ENOLCK): whoever
 *			has that may remove what is not committed
 * @app:		in: application ID, greater than 0
 * @signal:		in: with GEIST_CHECKPOINT_KILL: the signal, 1 to 64
 * @version:		in: version to make, from 1; its files must not exist;
 *			0 for an application that is watched: its next one, into
 *			the directory that the watch was given (@dir_fd is then
 *			ignored); without a description it has that of the watch,
 *			is at least as durable, and leaves out what that does.
 *			out: the version that was made
 * @durability:		in: GEIST_DURABILITY_*
 * @timeout_ms:		in: how long threads may take to be stilled, milliseconds; 0: 30000
 * @description:	in: address of the description (ASCII), or 0
 * @description_len:	in: its length in bytes, at most GEIST_DESCRIPTION_MAX
 * @message_len:	in: size of @message in bytes
 * @message:		in: address of a buffer for the sentence of an error, or 0
 * @pages:		out: pages in the version's task_mm file
 * @bytes:		out: bytes of all files of the version
 * @control_bytes:	out: bytes of its control file
 * @pause_us:		out: freeze to thaw, microseconds
 * @capture_us:		out: capture, microseconds (part of the pause)
 * @write_us:		out: writing, microseconds
 * @commit_us:		out: flushing and renaming, microseconds
 * @total_us:		out: the whole call, microseconds
 * @parent:		out: version that this one is an increment on, or 0
 * @left_out:		out: descriptors left out (see the version's description)
 * @reserved:		zero
 */
struct geist_checkpoint {
	__u32 size;
	__u32 flags;
	__s32 pid;
	__s32 dir_fd;
	__u32 app;
	__u32 signal;
	__u64 version;
	__u32 durability;
	__u32 timeout_ms;
	__u64 description;
	__u32 description_len;
	__u32 message_len;
	__u64 message;
	__u64 pages;
	__u64 bytes;
	__u64 control_bytes;
	__u64 pause_us;
	__u64 capture_us;
	__u64 write_us;
	__u64 commit_us;
	__u64 total_us;
	__u64 parent;
	__u32 left_out;
	__u32 reserved;
};

/**
 * struct geist_restart_file - a file that the address space of the image needs
 * @object:	number of the file object in the image
 * @fd:		descriptor at which the caller has opened it
 */
struct geist_restart_file {
	__u32 object;
	__s32 fd;
};

/* The process is stopped before its first instruction, as by SIGSTOP. */
#define GEIST_RESTART_STOPPED	(1U << 0)

/**
 * struct geist_restart_prepare - open an image (GEIST_IOC_RESTART_PREPARE)
 * @size:		in: size of this structure in bytes
 * @dir_fd:		in: directory of the application in the store
 * @app:		in: application ID
 * @message_len:	in: size of @message in bytes
 * @version:		in: version to restart
 * @message:		in: address of a buffer for the sentence of an error, or 0
 * @files:		in: address of an array of struct geist_restart_file: every
 *			regular file and memfd that a mapping shows, and the
 *			executable; opened with the access that the mapping needs
 * @file_count:		in: its length
 * @flags:		in: GEIST_RESTART_*
 *
 * Binds the image to this open file of /dev/geist, which then serves one
 * restart. The caller's credentials at this call are what the restart may
 * do. Reads and checks the task and control files.
 */
struct geist_restart_prepare {
	__u32 size;
	__s32 dir_fd;
	__u32 app;
	__u32 message_len;
	__u64 version;
	__u64 message;
	__u64 files;
	__u32 file_count;
	__u32 flags;
};

/**
 * struct geist_restart_join - become a process of the image (GEIST_IOC_RESTART_JOIN)
 * @size:		in: size of this structure in bytes
 * @pid:		in: process of the image that the caller becomes
 * @message_len:	in: size of @message in bytes
 * @reserved:		zero
 * @message:		in: address of a buffer for the sentence of an error, or 0
 *
 * Called by the skeleton process itself, with all signals blocked. On success
 * the call does not return: the address space of the caller is replaced, the
 * descriptor that it was called on is closed, and the thread waits for
 * GEIST_IOC_RESTART_FINISH, then runs as the image says. When anything fails
 * after the address space was emptied, the caller is killed and
 * GEIST_IOC_RESTART_FINISH says why.
 */
struct geist_restart_join {
	__u32 size;
	__s32 pid;
	__u32 message_len;
	__u32 reserved;
	__u64 message;
};

/**
 * struct geist_restart_finish - set registers and let go (GEIST_IOC_RESTART_FINISH)
 * @size:		in: size of this structure in bytes
 * @message_len:	in: size of @message in bytes
 * @message:		in: address of a buffer for the sentence of an error, or 0
 * @pages:		out: pages filled from the image
 * @reserved:		zero
 *
 * Called by the process that prepared the restart. Waits until every thread
 * of the image has joined and its memory is restored, sets registers and
 * floating point state as ptrace would, and lets them run. Interruptible: a
 * signal ends the restart, and the skeletons are killed.
 */
struct geist_restart_finish {
	__u32 size;
	__u32 message_len;
	__u64 message;
	__u64 pages;
	__u64 reserved;
};

/* The module's default (a knob in /sys/kernel/geist) instead of a value. */
#define GEIST_DEFAULT		(~0U)

/* struct geist_watch_file.flags: there is a committed version of this number. */
#define GEIST_WATCH_FILE_COMMITTED	(1U << 0)

/**
 * struct geist_watch_file - files that lie in the store when a watch begins
 * @version:	number in the names of the files
 * @needed_by:	newest committed version that needs one of them to be restarted;
 *		0: none does
 * @flags:	GEIST_WATCH_FILE_*
 * @reserved:	zero
 */
struct geist_watch_file {
	__u64 version;
	__u64 needed_by;
	__u32 flags;
	__u32 reserved;
};

/* struct geist_watch.flags: the application is watched; change how. */
#define GEIST_WATCH_CHANGE	(1U << 16)

/* Shortest and longest interval, microseconds. */
#define GEIST_INTERVAL_MIN_US	1000ULL
#define GEIST_INTERVAL_MAX_US	86400000000ULL

/* Most entries of @files. */
#define GEIST_WATCH_FILES_MAX	1048576U

/**
 * struct geist_watch - take versions at an interval (GEIST_IOC_WATCH)
 * @size:		in: size of this structure in bytes
 * @flags:		in: GEIST_WATCH_CHANGE, GEIST_CHECKPOINT_FULL (the first
 *			version is complete), GEIST_CHECKPOINT_IGNORE_UNSUPPORTED_FILES
 * @pid:		in: process, in the caller's pid namespace
 * @dir_fd:		in: directory of the application in the store; the module
 *			keeps this open file, and so the exclusive flock(2) that the
 *			caller must have on it, until the watch ends
 * @app:		in: application ID, greater than 0
 * @durability:		in: GEIST_DURABILITY_*, or GEIST_DEFAULT
 * @version:		in: the first version to make; the next numbers follow
 * @interval_us:	in: interval, microseconds; 0: the module's default
 * @keep:		in: how many of the newest versions are kept; 0: all; or
 *			GEIST_DEFAULT
 * @full_every:		in: every how many versions one is complete; 0: none has
 *			to be; or GEIST_DEFAULT
 * @timeout_ms:		in: how long threads may take to be stilled, milliseconds; 0: 30000
 * @file_count:		in: length of @files
 * @files:		in: address of an array of struct geist_watch_file, what
 *			the directory holds already, ascending by version
 * @description:	in: address of the description of every version, or 0
 * @description_len:	in: its length in bytes, at most GEIST_DESCRIPTION_MAX
 * @message_len:	in: size of @message in bytes
 * @message:		in: address of a buffer for the sentence of an error, or 0
 *
 * The call returns when the first version is committed; fails as a checkpoint
 * would, and then nothing is watched. From there on the module takes versions
 * with the credentials of the caller until GEIST_IOC_UNWATCH or the end of the
 * application. With GEIST_WATCH_CHANGE: @interval_us, @keep, @full_every,
 * @durability and @timeout_ms of the watch are replaced, unless they are 0 or
 * GEIST_DEFAULT as said above; the rest is ignored. ENODATA without a watch.
 */
struct geist_watch {
	__u32 size;
	__u32 flags;
	__s32 pid;
	__s32 dir_fd;
	__u32 app;
	__u32 durability;
	__u64 version;
	__u64 interval_us;
	__u32 keep;
	__u32 full_every;
	__u32 timeout_ms;
	__u32 file_count;
	__u64 files;
	__u64 description;
	__u32 description_len;
	__u32 message_len;
	__u64 message;
};

/**
 * struct geist_unwatch - end a watch (GEIST_IOC_UNWATCH)
 * @size:		in: size of this structure in bytes
 * @pid:		in: process, in the caller's pid namespace
 * @message:		in: address of a buffer for the sentence of an error, or 0
 * @message_len:	in: size of @message in bytes
 * @app:		out: application ID
 * @versions:		out: versions that the watch took
 * @skipped:		out: ticks of the interval that passed without a version,
 *			because the one before was not done
 * @errors:		out: versions that failed
 * @last_version:	out: the newest version that it committed, or 0
 *
 * Returns when no version is in the making any more.
 */
struct geist_unwatch {
	__u32 size;
	__s32 pid;
	__u64 message;
	__u32 message_len;
	__u32 app;
	__u64 versions;
	__u64 skipped;
	__u64 errors;
	__u64 last_version;
};

/*
 * The numbers do not encode the size of the structures, as _IOWR() would: a
 * structure that grows keeps its number.
 */
#define GEIST_IOC_MAGIC			0xB7
#define GEIST_IOC_INFO			_IO(GEIST_IOC_MAGIC, 0)
#define GEIST_IOC_CHECKPOINT		_IO(GEIST_IOC_MAGIC, 1)
#define GEIST_IOC_RESTART_PREPARE	_IO(GEIST_IOC_MAGIC, 2)
#define GEIST_IOC_RESTART_JOIN		_IO(GEIST_IOC_MAGIC, 3)
#define GEIST_IOC_RESTART_FINISH	_IO(GEIST_IOC_MAGIC, 4)
#define GEIST_IOC_WATCH			_IO(GEIST_IOC_MAGIC, 5)
#define GEIST_IOC_UNWATCH		_IO(GEIST_IOC_MAGIC, 6)

#endif /* _UAPI_LINUX_GEIST_H */
