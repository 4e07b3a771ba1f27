/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The filter decides, by cgroup and kind, which records are sent. The programs consult it before they reserve or fill
 * a record. User space writes it (src/filter.rs); by default everything passes.
 *
 * A cgroup is identified by the id in its records (kt_state.cgroup_id). Its entry does not apply to child cgroups. For
 * kinds that the entry does not decide, the default of the kind applies.
 *
 * A dropped event is counted but takes no sequence number, so it does not look lost. fork, exec and exit are sent even
 * when dropped, with KT_FILTERED: user space needs them to identify the processes of the records that pass.
 */
#pragma once

#include "identity.h"
#include "ring.h"

/* One bit per kind. */
struct kt_filter {
	u64 decided; /* kinds that this entry decides */
	u64 dropped; /* of these, the ones that are dropped */
};

struct kt_filter_default {
	u64 dropped; /* kinds that are dropped unless an entry decides otherwise */
	u64 cgroups; /* number of entries in `filters`; at 0, cgroups are not looked up */
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

/* Set at load. When false, the verifier removes the filter from the programs. */
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

/* Whether records of `kind` are dropped for processes in this cgroup; 0 stands for an unknown process. */
static __always_inline bool cgroup_is_filtered(u32 kind, u64 cgroup_id)
{
	struct kt_filter_default *defaults = default_filter();

	return defaults && drops(defaults, kind, cgroup_id);
}

/* The same for the cgroup of `task`, which is determined only when some cgroup has an entry. */
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

/* For the kinds that the process table needs: counts a dropped event and returns the flag with which it is sent. */
static __always_inline enum kt_flag filter_flag(u32 kind, struct task_struct *task)
{
	if (!is_filtered(kind, task))
		return 0;
	count_filtered(kind);
	return KT_FILTERED;
}
