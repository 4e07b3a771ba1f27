/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The filter: which kinds of records the processes of which cgroups make. Consulted before a record is reserved or
 * filled. User space writes it (src/filter.rs); by default everything passes.
 *
 * A cgroup is named by the id that its records carry (kt_state.cgroup_id); those below it are cgroups of their own. A
 * kind that the cgroup's entry does not decide is decided by the default of the kind.
 *
 * A dropped event takes no number, so it does not look lost; it is counted. fork, exec and exit are sent all the same,
 * with KT_FILTERED: without them, user space would not know who makes the records that pass.
 */
#pragma once

#include "identity.h"
#include "ring.h"

/* A bit for each kind. */
struct kt_filter {
	u64 decided; /* kinds that this entry decides */
	u64 dropped; /* of these, the ones that are dropped */
};

struct kt_filter_default {
	u64 dropped; /* kinds that are dropped where no entry decides */
	u64 cgroups; /* entries in `filters`: with none, no cgroup is looked up */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, u64);
	__type(value, struct kt_filter);
} filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct kt_filter_default);
} filter_default SEC(".maps");

/* Set at load. Without, the verifier removes the filter from the programs. */
const volatile bool with_filter = true;

static __always_inline struct kt_filter_default *default_filter(void)
{
	u32 key = 0;

	return with_filter ? bpf_map_lookup_elem(&filter_default, &key) : NULL;
}

static __always_inline bool drops(const struct kt_filter_default *defaults, u32 kind, u64 cgroup_id)
{
	u64 bit = 1ULL << kind;
	struct kt_filter *own;

	if (defaults->cgroups) {
		own = bpf_map_lookup_elem(&filters, &cgroup_id);
		if (own && own->decided & bit)
			return own->dropped & bit;
	}
	return defaults->dropped & bit;
}

/* Whether records of `kind` of the processes in a cgroup are dropped; cgroup 0 for an unknown process. */
static __always_inline bool cgroup_is_filtered(u32 kind, u64 cgroup_id)
{
	struct kt_filter_default *defaults = default_filter();

	return defaults && drops(defaults, kind, cgroup_id);
}

/* The same of the cgroup that `task` is in, which is looked for only when it matters. */
static __always_inline bool is_filtered(u32 kind, struct task_struct *task)
{
	struct kt_filter_default *defaults = default_filter();

	return defaults && drops(defaults, kind, defaults->cgroups ? cgroup_id_of(task) : 0);
}

static __always_inline void count_filtered(u32 kind)
{
	struct kt_cpu *cpu = cpu_of(bpf_get_smp_processor_id());

	if (cpu && kind < KT_KINDS)
		__sync_fetch_and_add(&cpu->filtered[kind], 1);
}

/* For kinds that the process table is made of: counts a dropped event and gives the flag to send it with. */
static __always_inline enum kt_flag filter_flag(u32 kind, struct task_struct *task)
{
	if (!is_filtered(kind, task))
		return 0;
	count_filtered(kind);
	return KT_FILTERED;
}
