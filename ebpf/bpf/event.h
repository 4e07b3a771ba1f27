/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every record begins with.
 *
 * A record is a fixed part (a struct kt_* that begins with kt_header) and, for some kinds, the bytes of its strings
 * behind it, packed, with their lengths in the fixed part. The fixed part and the number of each kind are declared in
 * the file of the concern that emits it. User space declares the same layouts (src/records.rs, src/probes/); a test
 * compares them with this object's BTF. So each struct and enum that leaves the kernel is called kt_*, and no other is.
 */
#pragma once

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

char LICENSE[] SEC("license") = "GPL";

/* Makes the compiler describe a type in BTF that no map holds. */
#define DESCRIBE(type, name) type *describe_##name __attribute__((unused))

/* Numbers of kinds are below this: a filter has a bit for each, a CPU a counter. 0 is none. */
#define KT_KINDS 64

/* What could not be read or was cut short, and what else a reader must know: an empty part differs from an unread one. */
enum kt_flag {
	KT_EXE_UNREAD = 1 << 0,
	KT_EXE_CUT = 1 << 1,
	KT_EXE_OUTSIDE = 1 << 2, /* not below the process's root: the path starts at the top of its mounts */
	KT_EXE_DELETED = 1 << 3,
	KT_EXE_UNNAMED = 1 << 4, /* in no directory: memfd */
	KT_CWD_UNREAD = 1 << 5,
	KT_CWD_CUT = 1 << 6,
	KT_CWD_OUTSIDE = 1 << 7,
	KT_ARGS_UNREAD = 1 << 8,
	KT_ARGS_CUT = 1 << 9,
	KT_CGROUP_CUT = 1 << 10, /* only its last components */
	KT_BEFORE_UNREAD = 1 << 11,
	KT_SOURCE_UNREAD = 1 << 12,
	KT_TARGET_UNREAD = 1 << 13,
	KT_TYPE_UNREAD = 1 << 14,
	KT_TARGET_RESOLVED = 1 << 15, /* read from the mount or root itself, not from the caller's memory */
	KT_TARGET_CUT = 1 << 16,
	KT_OWNER_UNKNOWN = 1 << 17, /* no process was seen to open, accept or close the connection */
	KT_KERNEL_THREAD = 1 << 18,
	KT_FILTERED = 1 << 19, /* dropped by the filter, sent for the process table only: it has no number */
};

/* CPU of the records of the task iterator: no real CPU has this number. */
#define KT_EXISTING_CPU 0xffff

struct kt_header {
	u32 kind;
	u32 size; /* of the whole record, strings included */
	u64 seq;
	u64 boot_ns;
	u32 cpu;
	enum kt_flag flags;
};

struct kt_ref {
	u64 start_boottime;
	u32 tgid;
	u32 reserved;
};

struct kt_state {
	u64 cap_effective;
	u64 cgroup_id;
	u32 euid;
	u32 mnt_ns;
	u32 pid_ns;
	u32 net_ns;
	u32 user_ns;
	u32 reserved;
};

#define KT_COMM_LEN 16
#define KT_TTY_LEN 16

struct kt_task {
	struct kt_ref process;
	struct kt_ref parent;
	struct kt_ref session_leader;
	struct kt_ref group_leader;
	struct kt_state state;
	u32 uid;
	u32 gid;
	u32 login_uid;
	u32 tid;
	u32 exec_seq; /* programs run so far */
	u32 reserved;
	char comm[KT_COMM_LEN];
	char tty[KT_TTY_LEN];
};
