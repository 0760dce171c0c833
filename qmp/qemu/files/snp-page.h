/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a guest-physical address to the page in QEMU's memory. */
#ifndef SNPRELAY_SNP_PAGE_H
#define SNPRELAY_SNP_PAGE_H

#include <snprelay/snprelay.h>

/*
 * Finds the page at ADDRESS, which must be RAM that the guest can write, and whole. Returns where it is mapped, and in
 * *PAGE what keeps it there until snp_page_release(). NULL with ERRP set when it is not so. With the big lock held.
 */
void *snp_page_find(uint64_t address, void **page, Error **errp);

/* Lets PAGE go, soon. Any thread, with or without the big lock. */
void snp_page_release(void *page);

/* Answers the relay, see SnprelayMapFunc. With the big lock held. */
void snp_page_map(SnprelayMapRequest *request, uint64_t address, gpointer opaque);

#endif
