// SPDX-License-Identifier: GPL-2.0
#include <linux/mm.h>
#include <linux/leafops.h>
#include <linux/mm_inline.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>

#include "geist_helpers.h"

/*
 * The entry of the third level that maps @addr, or NULL where there is none;
 * *@next is the first address that is not below the same entry.
 */
pmd_t *geist_pmd_find(struct mm_struct *mm, unsigned long addr, unsigned long *next)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	*next = pgd_addr_end(addr, TASK_SIZE_MAX);
	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	*next = p4d_addr_end(addr, TASK_SIZE_MAX);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	*next = pud_addr_end(addr, TASK_SIZE_MAX);
	if (pud_none(*pud) || pud_leaf(*pud))
		return NULL;
	*next = pmd_addr_end(addr, TASK_SIZE_MAX);
	return pmd_offset(pud, addr);
}

/* Whether a page may have been written since it was captured: a captured one is neither. */
static bool geist_may_have_changed(bool writable, struct page *page)
{
	return writable || PageAnonExclusive(page);
}

/* What @entry maps; of a huge page, its first one is *@page. */
static int geist_pmd_kind(pmd_t entry, struct page **page)
{
	if (pmd_none(entry))
		return GEIST_ENTRY_NONE;
	if (!pmd_present(entry))
		return GEIST_ENTRY_ABSENT;
	if (!pmd_trans_huge(entry))
		return GEIST_ENTRY_TABLE;
	*page = pmd_page(entry);
	return !pmd_special(entry) && PageAnon(*page) ? GEIST_ENTRY_ANON : GEIST_ENTRY_FILE;
}

/*
 * Captures the huge page that @pmd maps: write-protected, not exclusive, with
 * a reference. 512 pages from *@page on are captured then. With @only_changed,
 * only if it may have been written since it was captured last.
 */
int geist_pmd_capture(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmd,
		      bool only_changed, struct page **page)
{
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmd);
	pmd_t entry = pmdp_get(pmd);
	int kind = geist_pmd_kind(entry, page);

	if (kind == GEIST_ENTRY_ANON) {
		kind = GEIST_ENTRY_UNCHANGED;
		if (!only_changed || geist_may_have_changed(pmd_write(entry), *page)) {
			kind = GEIST_ENTRY_CAPTURED;
			folio_get(page_folio(*page));
		}
	}
	if (kind == GEIST_ENTRY_CAPTURED) {
		if (pmd_write(entry))
			pmdp_set_wrprotect(vma->vm_mm, addr, pmd);
		if (PageAnonExclusive(*page) &&
		    folio_try_share_anon_rmap_pmd(page_folio(*page), *page)) {
			if (pmd_write(entry))
				set_pmd_at(vma->vm_mm, addr, pmd, pmd_mkyoung(entry));
			kind = GEIST_ENTRY_PINNED;
		}
	}
	spin_unlock(ptl);
	return kind;
}

/* What @pmd maps. A huge page, *@page, is held for the caller; nothing else changes. */
int geist_pmd_look(struct vm_area_struct *vma, pmd_t *pmd, struct page **page)
{
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmd);
	int kind = geist_pmd_kind(pmdp_get(pmd), page);

	if (kind == GEIST_ENTRY_ANON)
		folio_get(page_folio(*page));
	spin_unlock(ptl);
	return kind;
}

/*
 * Whether the page that @entry of @vma maps, *@page, is the process's own: an
 * anonymous one, or zeros that UFFDIO_ZEROPAGE put where @vma would show its
 * file.
 */
static __always_inline bool
geist_is_own(struct vm_area_struct *vma, pte_t entry, struct page **page)
{
	if (pte_special(entry) && (vma_is_anonymous(vma) || !is_zero_pfn(pte_pfn(entry))))
		return false;
	*page = pte_page(entry);
	return pte_special(entry) || PageAnon(*page);
}

/* What @pte of @vma maps, *@page. The table is locked, and nothing changes. */
int geist_pte_look(struct vm_area_struct *vma, pte_t *pte, struct page **page)
{
	pte_t entry = ptep_get(pte);

	if (pte_none(entry))
		return GEIST_ENTRY_NONE;
	if (!pte_present(entry)) {
		softleaf_t leaf = softleaf_from_pte(entry);

		return softleaf_is_swap(leaf) || softleaf_is_migration(leaf) ?
		       GEIST_ENTRY_ABSENT : GEIST_ENTRY_NONE;
	}
	return geist_is_own(vma, entry, page) ? GEIST_ENTRY_ANON : GEIST_ENTRY_FILE;
}

/*
 * Locks the page table below @pmd, as pte_offset_map_lock() does, which is not
 * exported; NULL where it went away. RCU keeps its memory.
 */
pte_t *geist_pte_lock(struct mm_struct *mm, pmd_t *pmd, unsigned long addr, spinlock_t **ptl)
{
	pmd_t entry;

	rcu_read_lock();
	entry = pmdp_get_lockless(pmd);
	if (pmd_present(entry) && !pmd_leaf(entry) && !pmd_bad(entry)) {
		*ptl = pte_lockptr(mm, &entry);
		spin_lock(*ptl);
		if (pmd_same(entry, pmdp_get_lockless(pmd)))
			return pte_offset_kernel(&entry, addr);
		spin_unlock(*ptl);
	}
	rcu_read_unlock();
	return NULL;
}

void geist_pte_unlock(spinlock_t *ptl)
{
	spin_unlock(ptl);
	rcu_read_unlock();
}

/* Captures what @entry says is not in memory. */
static int capture_absent(pte_t entry, bool only_changed)
{
	softleaf_t leaf = softleaf_from_pte(entry);

	if (softleaf_is_swap(leaf) && only_changed && !pte_swp_exclusive(entry))
		return GEIST_ENTRY_UNCHANGED;
	if (softleaf_is_swap(leaf) || softleaf_is_migration(leaf))
		return GEIST_ENTRY_ABSENT;
	return softleaf_is_guard_marker(leaf) ? GEIST_ENTRY_GUARD : GEIST_ENTRY_UNKNOWN;
}

/*
 * What the pause consists of, for each page: the folio and what the entry says
 * are asked for once, and PageAnonExclusive() is done without its question for
 * hugetlbfs, whose mappings are refused.
 */
static __always_inline int
capture_pte(struct vm_area_struct *vma, unsigned long addr, pte_t *pte,
	    bool only_changed, struct page **page)
{
	pte_t entry = ptep_get(pte);
	bool writable, exclusive;
	struct folio *folio;

	if (pte_none(entry))
		return GEIST_ENTRY_NONE;
	if (unlikely(!pte_present(entry)))
		return capture_absent(entry, only_changed);
	if (unlikely(pte_special(entry))) {
		if (!geist_is_own(vma, entry, page))
			return GEIST_ENTRY_FILE;
		/* Nothing tells whether it was captured before. */
		get_page(*page);
		return GEIST_ENTRY_CAPTURED;
	}
	*page = pte_page(entry);
	folio = page_folio(*page);
	if (!folio_test_anon(folio))
		return GEIST_ENTRY_FILE;
	writable = pte_write(entry);
	exclusive = test_bit(PG_anon_exclusive, &(*page)->flags.f);
	if (only_changed && !writable && !exclusive)
		return GEIST_ENTRY_UNCHANGED;
	folio_get(folio);
	if (writable)
		ptep_set_wrprotect(vma->vm_mm, addr, pte);
	if (exclusive && folio_try_share_anon_rmap_pte(folio, *page)) {
		if (writable)
			set_pte_at(vma->vm_mm, addr, pte, pte_mkyoung(entry));
		return GEIST_ENTRY_PINNED;
	}
	return GEIST_ENTRY_CAPTURED;
}

/* Captures what @pte maps, as geist_pmd_capture() does. The table is locked. */
int geist_pte_capture(struct vm_area_struct *vma, unsigned long addr, pte_t *pte,
		      bool only_changed, struct page **page)
{
	return capture_pte(vma, addr, pte, only_changed, page);
}

/*
 * Captures what @pte maps. Returns false where it is for the caller to look
 * at, captured by nobody yet.
 */
static __always_inline bool
capture_one(struct vm_area_struct *vma, unsigned long addr, pte_t *pte, bool only_changed,
	    struct geist_capture *capture)
{
	struct page *page;

	if (unlikely(capture->count == capture->room))
		return false;
	switch (capture_pte(vma, addr, pte, only_changed, &page)) {
	case GEIST_ENTRY_CAPTURED:
		capture->out[capture->count++] = (struct geist_captured) {
			.address = addr | capture->low_bits,
			.page = page,
		};
		return true;
	case GEIST_ENTRY_UNCHANGED:
		return true;
	case GEIST_ENTRY_NONE:
	case GEIST_ENTRY_FILE:
		return capture->skip_others;
	case GEIST_ENTRY_PINNED:
		/* Captured once more by the caller, who copies it. */
		put_page(page);
		return false;
	default:
		return false;
	}
}

/*
 * Captures what the entries from @from on, below @until, of @table map, whose
 * first entry is that of @base. Stops at one that capture_one() does not take,
 * and returns its number; else @until.
 */
unsigned int geist_ptes_capture(struct vm_area_struct *vma, unsigned long base, pte_t *table,
				unsigned int from, unsigned int until,
				struct geist_capture *capture)
{
	/* Nothing else sees it, so that it stays in registers. */
	struct geist_capture mine = *capture;
	unsigned int first, i;

	/* By words, and not by find_next_bit(), which would be called for each page. */
	for (first = round_down(from, BITS_PER_LONG); first < until; first += BITS_PER_LONG) {
		unsigned long wanted = mine.wanted[BIT_WORD(first)];
		unsigned long written = mine.written[BIT_WORD(first)];

		if (first < from)
			wanted &= BITMAP_FIRST_WORD_MASK(from);
		if (until - first < BITS_PER_LONG)
			wanted &= BITMAP_LAST_WORD_MASK(until);
		for (; wanted; wanted &= wanted - 1) {
			i = first + __ffs(wanted);
			if (!capture_one(vma, base + i * PAGE_SIZE, table + i,
					 !(written & BIT_MASK(i)), &mine)) {
				until = i;
				break;
			}
		}
	}
	capture->count = mine.count;
	return until;
}

void *geist_page_address(struct page *page)
{
	return page_address(page);
}

struct page *geist_page_nth(struct page *page, unsigned long n)
{
	return page + n;
}

void geist_page_get(struct page *page)
{
	get_page(page);
}

void geist_page_put(struct page *page)
{
	put_page(page);
}
