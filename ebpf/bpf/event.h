/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The types that all records share.
 *
 * A record consists of a fixed part (a struct kt_* that starts with kt_header) and, for some kinds, the bytes of its
 * strings, packed, whose lengths are in the fixed part. The fixed part and the number of each kind are declared in the
 * file of the concern that emits it. User space declares the same layouts (src/records.rs, src/probes/); a test
 * compares them with this object's BTF. Therefore exactly the structs and enums shared with it are named kt_*.
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

/* Makes the compiler emit BTF for a type that no map refers to. */
#define DESCRIBE(type, name) type *describe_##name __attribute__((unused))

/* Kinds are numbered from 1 to KT_KINDS - 1: a filter has one bit per kind, each CPU one counter per kind. */
#define KT_KINDS 64

/* Which parts of a record could not be read or were truncated (an empty part has no flag), and other properties. */
enum kt_flag {
	KT_EXE_UNREAD = 1 << 0,
	KT_EXE_CUT = 1 << 1,
	KT_EXE_OUTSIDE = 1 << 2, /* not below the process's root: the path starts at the topmost mount */
	KT_EXE_DELETED = 1 << 3,
	KT_EXE_UNNAMED = 1 << 4, /* in no directory, such as a memfd */
	KT_CWD_UNREAD = 1 << 5,
	KT_CWD_CUT = 1 << 6,
	KT_CWD_OUTSIDE = 1 << 7,
	KT_ARGS_UNREAD = 1 << 8,
	KT_ARGS_CUT = 1 << 9,
	KT_CGROUP_CUT = 1 << 10, /* only its last components are present */
	KT_BEFORE_UNREAD = 1 << 11,
	KT_SOURCE_UNREAD = 1 << 12,
	KT_TARGET_UNREAD = 1 << 13,
	KT_TYPE_UNREAD = 1 << 14,
	KT_TARGET_RESOLVED = 1 << 15, /* read from the mount or root itself, not from the caller's memory */
	KT_TARGET_CUT = 1 << 16,
	KT_OWNER_UNKNOWN = 1 << 17, /* no process was seen to open, accept or close the connection */
	KT_KERNEL_THREAD = 1 << 18,
	KT_FILTERED = 1 << 19, /* dropped by the filter and sent only for the process table: it has no number */
};

/* CPU number in records of the task iterator; no real CPU has it. */
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
	u32 egid;
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
	u32 exec_seq; /* number of execs so far */
	u32 reserved;
	char comm[KT_COMM_LEN];
	char tty[KT_TTY_LEN];
};
