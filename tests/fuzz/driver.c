/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzzer's corpus, and mutations of it that are the same every time, without libFuzzer: the corpus as an ordinary
 * regression test. Usage: fuzz-NAME MUTATIONS DIRECTORY
 */
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t random_state = 1;

/* The same numbers on every machine. */
static size_t pick(size_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return below ? (size_t)(random_state >> 33) % below : 0;
}

/* In a copy of exactly its size, so that a sanitizer sees each byte that is read behind it. */
static void run(const GByteArray *input)
{
    guint8 *copy = g_malloc(input->len ? input->len : 1);

    if (input->len) {
        memcpy(copy, input->data, input->len);
    }
    LLVMFuzzerTestOneInput(copy, input->len);
    g_free(copy);
}

static void mutate_once(GByteArray *input, const GByteArray *other)
{
    static const guint8 interesting[] = {0,    1,    4,   5,   6,   7,   8,   0x7f,
                                         0x80, 0xff, ',', ':', '=', '"', '\n'};
    size_t at = pick(input->len);

    switch (pick(7)) {
    case 0:
        if (input->len) {
            input->data[at] ^= (guint8)(1 << pick(8));
        }
        break;
    case 1:
        if (input->len) {
            input->data[at] = interesting[pick(sizeof(interesting))];
        }
        break;
    case 2:
        if (input->len) {
            g_byte_array_remove_range(input, (guint)at,
                                      (guint)(1 + pick(MIN(input->len - at, 64))));
        }
        break;
    case 3:
        g_byte_array_append(input, interesting + pick(sizeof(interesting)), 1);
        break;
    case 4: /* a piece of it once more, at the end */
        if (input->len && input->len < LONGEST) {
            size_t length = 1 + pick(input->len - at);
            g_autofree guint8 *piece = g_memdup2(input->data + at, length);

            g_byte_array_append(input, piece, (guint)length);
        }
        break;
    case 5: /* a piece of another one */
        if (other->len && input->len < LONGEST) {
            size_t from = pick(other->len);

            g_byte_array_append(input, other->data + from, (guint)(1 + pick(other->len - from)));
        }
        break;
    default:
        g_byte_array_set_size(input, (guint)at);
    }
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The files of DIRECTORY in the order of their names: of GByteArray. */
static GPtrArray *load(const char *directory)
{
    GPtrArray *inputs = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    GDir *dir = g_dir_open(directory, 0, NULL);
    const char *name;

    g_ptr_array_add(inputs, g_byte_array_new());
    while (dir && (name = g_dir_read_name(dir)) != NULL) {
        g_ptr_array_add(names, g_build_filename(directory, name, NULL));
    }
    g_clear_pointer(&dir, g_dir_close);
    g_ptr_array_sort(names, compare_names);
    for (guint i = 0; i < names->len; i++) {
        char *contents;
        gsize length;

        if (g_file_get_contents(names->pdata[i], &contents, &length, NULL)) {
            g_ptr_array_add(inputs, g_byte_array_new_take((guint8 *)contents, length));
        }
    }
    return inputs;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) inputs = NULL;
    long mutations;

    if (argc != 3) {
        fprintf(stderr, "usage: %s MUTATIONS DIRECTORY\n", argv[0]);
        return 2;
    }
    mutations = strtol(argv[1], NULL, 10);
    inputs = load(argv[2]);
    for (guint i = 0; i < inputs->len; i++) {
        run(inputs->pdata[i]);
    }
    for (long i = 0; i < mutations; i++) {
        const GByteArray *seed = inputs->pdata[pick(inputs->len)];
        g_autoptr(GByteArray) input = g_byte_array_new();

        g_byte_array_append(input, seed->data ? seed->data : (const guint8 *)"", seed->len);
        for (size_t n = 1 + pick(4); n > 0; n--) {
            mutate_once(input, inputs->pdata[pick(inputs->len)]);
        }
        run(input);
    }
    printf("%u inputs and %ld mutations\n", inputs->len, mutations);
    return 0;
}
