/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libsnprelay: the host's side of the migration channel between two SVSMs, for a program that embeds it.
 *
 * An embedder makes one SnprelayRelay for a guest, gives it a function that finds the guest's page, and then
 * starts, asks and stops. At most one migration runs in a relay at a time. Blocks are moved by threads of the
 * library's own; the embedder's thread never waits for a guest, a peer or a name server.
 *
 * Threads: unless a function says otherwise, call it from the thread that runs the GMainContext which was given
 * to snprelay_new(). All callbacks are made from that context.
 */
#ifndef SNPRELAY_SNPRELAY_H
#define SNPRELAY_SNPRELAY_H

#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#if defined(__GNUC__)
#define SNPRELAY_PUBLIC __attribute__((visibility("default")))
#else
#define SNPRELAY_PUBLIC
#endif

/* Bytes in the page, and the alignment that its guest-physical address must have. */
#define SNPRELAY_PAGE_SIZE 4096

typedef struct SnprelayRelay SnprelayRelay;

/* ---- Errors ---------------------------------------------------------------------------------------- */

#define SNPRELAY_ERROR (snprelay_error_quark())
SNPRELAY_PUBLIC GQuark snprelay_error_quark(void);

typedef enum SnprelayErrorCode {
    SNPRELAY_ERROR_INVALID, /* an argument is wrong: the message names it and what would be right */
    SNPRELAY_ERROR_STATE,   /* the command does not fit the state, e.g. a migration runs already */
    SNPRELAY_ERROR_PAGE,    /* the page cannot be reached, or was broken off in mid-stream */
    SNPRELAY_ERROR_GUEST,   /* the guest broke the page's rules, or went away */
    SNPRELAY_ERROR_NETWORK, /* connecting, listening or moving bytes failed */
    SNPRELAY_ERROR_PEER,    /* the peer broke the wire's rules, refused us, or gave up */
    SNPRELAY_ERROR_TIMEOUT, /* the peer was silent for too long */
    SNPRELAY_ERROR_CANCELLED, /* a person or a manager cancelled, here or at the peer */
    SNPRELAY_ERROR_POLICY,    /* forbidden by how the program was started (exec:, plain-text tcp) */
} SnprelayErrorCode;

/* ---- States ---------------------------------------------------------------------------------------- */

/* The names, as QEMU's MigrationStatus writes them, come from snprelay_status_name(). */
typedef enum SnprelayStatus {
    SNPRELAY_STATUS_NONE,       /* nothing was started yet */
    SNPRELAY_STATUS_SETUP,      /* connecting, or listening for the peer; the page is untouched */
    SNPRELAY_STATUS_ACTIVE,     /* blocks flow */
    SNPRELAY_STATUS_PAUSED,     /* the connection broke; all that the guest gave is kept */
    SNPRELAY_STATUS_RECOVERING, /* connecting again */
    SNPRELAY_STATUS_CANCELLING, /* giving up, telling the peer */
    SNPRELAY_STATUS_CANCELLED,  /* end: given up */
    SNPRELAY_STATUS_COMPLETED,  /* end: the destination's guest has read every block */
    SNPRELAY_STATUS_FAILED,     /* end: see error_desc */
    SNPRELAY_N_STATUS
} SnprelayStatus;

/* Returns a static string. Any thread. */
SNPRELAY_PUBLIC const char *snprelay_status_name(SnprelayStatus status);

/* TRUE for NONE, CANCELLED, COMPLETED and FAILED: nothing is going on and a migration may be started. Any thread. */
SNPRELAY_PUBLIC gboolean snprelay_status_is_final(SnprelayStatus status);

/* What is known of the present or the last migration. Which fields say something is told beside each. */
typedef struct SnprelayInfo {
    SnprelayStatus status;
    gboolean incoming;    /* direction; meaningless in NONE, as everything below */
    char *uri;            /* as given */
    uint64_t address;     /* guest-physical address of the page */
    char **listening;     /* NULL-terminated URIs while listening, else NULL */
    const char *wire;     /* "native" or "poc", NULL while not known */
    uint64_t blocks;      /* taken from the source's guest, or read by the destination's guest */
    uint64_t bytes;       /* the same in bytes */
    uint64_t acked_bytes; /* native: bytes that the destination's guest has read, as known here */
    gboolean has_acked;   /* whether acked_bytes says something (not on the poc wire's source) */
    unsigned reconnects;  /* connections made after the first */
    int64_t setup_time;   /* ms from the command to the first ACTIVE, -1 before */
    int64_t total_time;   /* ms from the command until now or until the end */
    double mbps;          /* megabits a second, mean over the time since ACTIVE */
    double rate;          /* bytes a second, over the last second or so, for a progress line */
    int64_t
        guest_idle_time; /* ms since the guest last did something while it should, 0 when it is busy, -1: no guest
                                 is being waited for */
    gboolean has_checksum; /* set at the end of a whole stream */
    uint64_t checksum;     /* XXH3 (64 bits, seed 0) of all blocks in order */
    char *error_desc;      /* why it is FAILED, CANCELLED or PAUSED, else NULL */
} SnprelayInfo;

/* ---- Pages ----------------------------------------------------------------------------------------- */

typedef struct SnprelayMapRequest SnprelayMapRequest;

/*
 * Finds the 4096-byte page at the guest-physical ADDRESS, which is aligned, and answers REQUEST exactly once, now or
 * later, with snprelay_map_done(), snprelay_map_access() or snprelay_map_failed().
 */
typedef void (*SnprelayMapFunc)(SnprelayMapRequest *request, uint64_t address, gpointer opaque);

/*
 * Answers with HOST, the page mapped shared and writable. RELEASE (may be NULL) is called with RELEASE_OPAQUE, from any
 * thread, when the relay no longer uses it. Frees REQUEST. Any thread.
 */
SNPRELAY_PUBLIC void snprelay_map_done(SnprelayMapRequest *request, void *host,
                                       GDestroyNotify release, gpointer release_opaque);

/*
 * Reads or writes LENGTH bytes at OFFSET of a page that cannot be mapped. A transfer of one byte must be done as one
 * byte, and transfers must not be reordered. Called from the relay's own threads, one at a time. Returns FALSE with ERROR
 * set when the page is gone.
 */
typedef struct SnprelayAccess {
    gboolean (*read)(gpointer opaque, size_t offset, void *buffer, size_t length, GError **error);
    gboolean (*write)(gpointer opaque, size_t offset, const void *buffer, size_t length,
                      GError **error);
} SnprelayAccess;

/* Answers with functions that reach the page. ACCESS must live until RELEASE is called. Frees REQUEST. Any thread. */
SNPRELAY_PUBLIC void snprelay_map_access(SnprelayMapRequest *request, const SnprelayAccess *access,
                                         gpointer opaque, GDestroyNotify release);

/* Answers that there is no such page; takes ERROR over. Frees REQUEST. Any thread. */
SNPRELAY_PUBLIC void snprelay_map_failed(SnprelayMapRequest *request, GError *error);

/* ---- A relay --------------------------------------------------------------------------------------- */

typedef struct SnprelayCallbacks {
    SnprelayMapFunc map_page;
    /* The state changed. INFO is valid during the call. Every change is told, in order. May be NULL. */
    void (*status_changed)(SnprelayRelay *relay, const SnprelayInfo *info, gpointer opaque);
    /* The guest did nothing for IDLE_MS while it should: once a stall. May be NULL. */
    void (*stalled)(SnprelayRelay *relay, uint64_t idle_ms, gpointer opaque);
    /* The last migration is over for the peer, too: after COMPLETED a destination still answers a source whose connection broke
     * before it heard so. A program that exits after one migration waits for this. May be NULL. */
    void (*settled)(SnprelayRelay *relay, gpointer opaque);
    /* Something a person should know although nothing failed. May be NULL. */
    void (*warning)(SnprelayRelay *relay, const char *message, gpointer opaque);
} SnprelayCallbacks;

typedef enum SnprelayPolicy {
    SNPRELAY_POLICY_DEFAULT = 0,
    SNPRELAY_POLICY_ALLOW_EXEC = 1 << 0,  /* exec: URIs may start programs */
    SNPRELAY_POLICY_REQUIRE_TLS = 1 << 1, /* refuse plain-text tcp beyond the loopback */
} SnprelayPolicy;

/* Makes a relay that calls back from CONTEXT (NULL: the default one). CALLBACKS is copied. Free with snprelay_free(). */
SNPRELAY_PUBLIC SnprelayRelay *snprelay_new(GMainContext *context,
                                            const SnprelayCallbacks *callbacks,
                                            SnprelayPolicy policy, gpointer opaque);

/* Cancels what runs, waits for its threads (at most about a second, while the peer is told) and frees RELAY. */
SNPRELAY_PUBLIC void snprelay_free(SnprelayRelay *relay);

/*
 * Called once from the relay's context when a command took hold, with ERROR NULL (outgoing: the page is there and
 * connecting began; incoming: it listens), or when it was refused; then the relay is as it was before.
 */
typedef void (*SnprelayReadyFunc)(SnprelayRelay *relay, const GError *error, gpointer opaque);

typedef enum SnprelayFlags {
    SNPRELAY_FLAG_NONE = 0,
    SNPRELAY_FLAG_FORCE = 1 << 0, /* start on a page that was broken off in mid-stream */
} SnprelayFlags;

/* Starts an outgoing migration of the page at ADDRESS to URI. READY (may be NULL) may be called before this returns. */
SNPRELAY_PUBLIC void snprelay_migrate(SnprelayRelay *relay, const char *uri, uint64_t address,
                                      SnprelayFlags flags, SnprelayReadyFunc ready,
                                      gpointer opaque);

/* Starts an incoming migration into the page at ADDRESS, listening on URI. As above. */
SNPRELAY_PUBLIC void snprelay_migrate_incoming(SnprelayRelay *relay, const char *uri,
                                               uint64_t address, SnprelayFlags flags,
                                               SnprelayReadyFunc ready, gpointer opaque);

/* Goes on with a paused outgoing migration, connecting to URI (NULL: as before). It is recovering when this returns TRUE,
 * and paused again only when the attempt has failed. Errors: STATE, INVALID. */
SNPRELAY_PUBLIC gboolean snprelay_resume(SnprelayRelay *relay, const char *uri, GError **error);

/* Makes a paused incoming migration listen on URI instead. READY as in snprelay_migrate_incoming(). */
SNPRELAY_PUBLIC void snprelay_recover(SnprelayRelay *relay, const char *uri,
                                      SnprelayReadyFunc ready, gpointer opaque);

/* Breaks the connection on purpose and stays paused until resumed. Errors: STATE (not active, or poc wire). */
SNPRELAY_PUBLIC gboolean snprelay_pause(SnprelayRelay *relay, GError **error);

/* Gives up what runs. Without a migration it does nothing, as QEMU's migrate_cancel. Returns at once. */
SNPRELAY_PUBLIC void snprelay_cancel(SnprelayRelay *relay);

/* Tells that the guest is gone (its machine ended or was reset), or that for another reason of the embedder's a migration that
 * runs must fail with REASON. */
SNPRELAY_PUBLIC void snprelay_guest_gone(SnprelayRelay *relay, const char *reason);

/* A snapshot; free with snprelay_info_free(). Any thread. */
SNPRELAY_PUBLIC SnprelayInfo *snprelay_query(SnprelayRelay *relay);
SNPRELAY_PUBLIC void snprelay_info_free(SnprelayInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnprelayInfo, snprelay_info_free)

/* ---- Descriptors that a monitor handed over ("fd:NAME") ---------------------------------------------- */

/* Keeps FD (taken over, also on error) under NAME, which must not begin with a digit. An old one is closed, as QEMU does. */
SNPRELAY_PUBLIC gboolean snprelay_add_fd(SnprelayRelay *relay, const char *name, int fd,
                                         GError **error);
/* Closes the descriptor of that NAME. Error INVALID when there is none. */
SNPRELAY_PUBLIC gboolean snprelay_remove_fd(SnprelayRelay *relay, const char *name, GError **error);

/* ---- Parameters ------------------------------------------------------------------------------------ */

typedef enum SnprelayParameterType {
    SNPRELAY_PARAMETER_STRING,
    SNPRELAY_PARAMETER_SIZE,    /* bytes; text may end in k, M, G, T (powers of 1024) */
    SNPRELAY_PARAMETER_SECONDS, /* whole seconds */
    SNPRELAY_PARAMETER_MS,      /* milliseconds */
    SNPRELAY_PARAMETER_CHOICE,  /* one of CHOICES */
} SnprelayParameterType;

typedef struct SnprelayParameter {
    const char *name; /* as in QMP, HMP and on the command line: "max-bandwidth" */
    SnprelayParameterType type;
    const char *const *choices; /* NULL-terminated, for CHOICE only */
    uint64_t minimum, maximum;  /* of numbers, both allowed */
    const char *help;           /* one line */
} SnprelayParameter;

/* The table of all parameters, *COUNT of them; static. Any thread. */
SNPRELAY_PUBLIC const SnprelayParameter *snprelay_parameters(size_t *count);

/* A value: TEXT for STRING ("" is unset) and CHOICE, NUMBER for the others. */
typedef struct SnprelayParameterValue {
    const char *name;
    char *text;
    uint64_t number;
} SnprelayParameterValue;

/* Reads TEXT, as a person types it, into *VALUE (clear it with snprelay_parameter_clear()). Error: INVALID. Any thread. */
SNPRELAY_PUBLIC gboolean snprelay_parameter_parse(const char *name, const char *text,
                                                  SnprelayParameterValue *value, GError **error);
SNPRELAY_PUBLIC void snprelay_parameter_clear(SnprelayParameterValue *value);

/* Sets all of VALUES or, with an ERROR that names the wrong one (INVALID, or STATE: not while one runs), none. */
SNPRELAY_PUBLIC gboolean snprelay_set_parameters(SnprelayRelay *relay,
                                                 const SnprelayParameterValue *values, size_t count,
                                                 GError **error);

/* The present values in the table's order, as many as it has; an array to free with snprelay_parameters_free(). */
SNPRELAY_PUBLIC SnprelayParameterValue *snprelay_get_parameters(SnprelayRelay *relay);
SNPRELAY_PUBLIC void snprelay_parameters_free(SnprelayParameterValue *values);

/* "0.1.0". Any thread. */
SNPRELAY_PUBLIC const char *snprelay_version(void);

G_END_DECLS

#endif
