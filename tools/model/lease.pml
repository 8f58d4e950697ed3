/* The protocol of the shared lease store (docs/lease-protocol.md): one owner, one variant, two nodes, three flights.
 *
 * A flight is what a node does for one request that its memory can't answer. Each script is one atomic step, its answer is read in another:
 * whatever the others do fits between. A claim that is renewed is one that does not expire. Who waits begins again as soon as that would
 * change something: to begin again earlier is a step that changes nothing, and a timer that fires late is a step that comes late.
 *
 * Time stands in no clock but in the order of steps. Faults happen at any step, each as often as its bound says. Ghosts know what no node
 * knows: `forgettings` counts every forgetting and every scan that begins, `born[u]` is that count when the mint of URL `u` began, `must[node]`
 * the count of the last forgetting, or of the last scan with a URL, that the node has heard of. A URL that is older than `must` when the request arrived is the fault that all this is against.
 *
 * Macros that break something are in `check`; none of them is defined in the protocol as it is meant.
 */

/* Bounds of the faults and of the work; `check` sets them. */
#ifndef REQUESTS_0
#define REQUESTS_0 1        /* of the flight on node 0 */
#endif
#ifndef REQUESTS_1
#define REQUESTS_1 1        /* of the first flight on node 1 */
#endif
#ifndef REQUESTS_2
#define REQUESTS_2 1        /* of the second flight on node 1 */
#endif
#ifndef POSTS
#define POSTS 0             /* how many requests may be "scan again" */
#endif
#ifndef ADMINS
#define ADMINS 0            /* forgettings by an administrator, through no node of these */
#endif
#ifndef DEATHS
#define DEATHS 0            /* holders that die between TURN and KEEP */
#endif
#ifndef STALLS
#define STALLS 0            /* claims that expire although their holder lives */
#endif
#ifndef FAILURES
#define FAILURES 0          /* vendor calls that fail */
#endif
#ifndef BREAKS
#define BREAKS 0            /* subscriptions that break */
#endif
#ifndef LOST_DROPS
#define LOST_DROPS 0        /* drop messages that are lost while the subscription stands */
#endif
#ifndef FAILOVERS
#define FAILOVERS 0         /* at most 1: the store falls back to an earlier state of its own */
#endif
#ifndef LOSSES
#define LOSSES 0            /* the store forgets everything */
#endif
#ifndef CUTS
#define CUTS 0              /* nodes that can't reach the store for a time, and mint locally */
#endif
#ifndef LOST_ANSWERS
#define LOST_ANSWERS 0      /* KEEPs whose answer is lost, whether or not the store has it */
#endif
#ifndef EXPIRIES
#define EXPIRIES 0          /* ends of the TTL of `g` */
#endif
#ifndef START_HELD
#define START_HELD 0        /* node 0 and the store hold a URL from the beginning */
#endif

/* What is broken, and what is not. */
#ifdef CLAIM_OF_ANY_GENERATION
#define WAITS (s.c)
#elif defined(NO_CLAIM)
#define WAITS false
#else
#define WAITS (s.c && s.c_g == s.g)
#endif
#ifdef NO_FENCE
#define FENCED true
#else
#define FENCED (s.n == fence)
#endif
#ifdef KEEP_OF_ANY_GENERATION
#define CURRENT true
#else
#define CURRENT (s.g == gen)
#endif
#ifdef ZERO_MEANS_FORGOTTEN
#define ZERO_RULE || (gen == 0 && !post)
#else
#define ZERO_RULE
#endif
#ifdef LOSS_AT_ANY_TIME
#define LOSS_GUARD
#else
#define LOSS_GUARD && CONNECTED(0) && CONNECTED(1)
#endif
/* KEEP prolongs `g`: when it expires nothing of its own generation lives either. */
#ifdef KEEP_LEAVES_G
#define KEEP_RENEWS
#else
#define KEEP_RENEWS || true
#endif

#define NODES 2
#define FLIGHTS 3
#define URLS 10

mtype = { HELD, FAILED, WAIT, TURN, KEPT, REJECTED };

/* The store. 0 is "absent". */
typedef Store {
    byte g;                 /* the owner's generation */
    byte n;                 /* the fence of the latest turn */
    bool c; byte c_g;       /* the claim, and the generation under which it was taken */
    byte c_by;              /* ghost: whose claim */
    byte l; byte l_g;       /* the lease: URL and generation */
    byte l_turn;            /* ghost: the turn that wrote it */
    bool f                  /* a failure a moment ago */
}
Store s;
#if FAILOVERS
Store r; bool copied;       /* the replica, and whether it has stopped following */
#endif

/* The nodes. */
byte mem[NODES];            /* the URL in memory */
byte mem_g[NODES];
bool fresh[NODES];          /* it is of the present epoch */
bool subscribed[NODES];
bool bumped[NODES];         /* the epoch was bumped after the last subscription */
bool cut[NODES];
bool owes[NODES];           /* a forgetting that could not be told to the store */
chan drop[NODES] = [3] of { byte };

/* The flights. */
bool spoilt[FLIGHTS];       /* the node forgot, or bumped its epoch, after the present script was sent */
bool holding[FLIGHTS];
byte turn[FLIGHTS];         /* ghost, and the fence where fences are never used twice */
byte busy, finished;

/* Ghosts. */
byte forgettings, turns, urls;
byte counted;               /* the last forgetting, or scan with a URL, that the store knows of */
byte born[URLS];
byte must[NODES];
byte calls[4];              /* vendor calls under way, of each generation */
bool kept[4];               /* a mint of this generation was kept */

byte posts, admins, deaths, stalls, failures, breaks, lost_drops, failovers, losses, cuts, lost_answers, expiries;

#define NODE_OF(a) (a > 0)

inline spoil(node) {
    if
    :: node == 0 -> spoilt[0] = 1
    :: else -> spoilt[1] = 1; spoilt[2] = 1
    fi
}

inline forget_memory(node) { mem[node] = 0; mem_g[node] = 0; fresh[node] = 0; spoil(node) }

inline tell(node, number) {
    if
    :: subscribed[node] -> drop[node] ! number
    :: else
    fi
}

/* FORGET. A generation is never used twice, whatever the store has lost. */
inline forget_script() {
    forgettings++;
#ifdef GENERATION_COUNTS
    s.g++;
#else
    s.g = forgettings;
#endif
    counted = forgettings;
    tell(0, counted); tell(1, counted)
}

/* BEGIN, for a flight that knows of generation `known`. */
inline begin_script(a) {
    spoilt[a] = 0;
#ifndef FORGETFUL_BEGIN
    if
    :: known > s.g -> s.g = known;
        /* What another node holds of a generation that the store had meanwhile no longer counts. */
#ifndef RAISED_IN_SILENCE
        tell(1 - NODE_OF(a), counted)
#endif
    :: else
    fi;
#endif
    gen = s.g;
#ifdef HELD_OF_ANY_GENERATION
    if
    :: s.l -> answer = HELD; url = s.l
#else
    if
    :: s.l && s.l_g == s.g -> answer = HELD; url = s.l
#endif
    :: else ->
        if
        :: s.f -> answer = FAILED
        :: else ->
            if
            :: WAITS -> answer = WAIT
            :: else ->
                turns++; turn[a] = turns;
#ifdef FENCE_COUNTS
                s.n++;
#else
                s.n = turns;
#endif
                fence = s.n; holding[a] = 1;
                s.c = 1; s.c_g = s.g; s.c_by = a;
                answer = TURN
            fi
        fi
    fi
}

/* KEEP. `minted`: by this turn, and not a lease from memory that is kept again. */
inline keep_script(a) {
    spoilt[a] = 0; holding[a] = 0;
    if
    :: FENCED && CURRENT ->
#ifndef STORE_FAULTS
        /* (1) one kept mint for each generation; (3) none that began before a forgetting */
        assert(!minted || !kept[gen] || (s.l == url && s.l_turn == turn[a]));
        kept[gen] = 1;
#endif
        /* (4) a newer holder's lease stays */
        assert(!s.l || s.l_g != s.g || s.l_turn <= turn[a]);
        s.l = url; s.l_g = gen; s.l_turn = turn[a];
        s.c = 0; s.c_g = 0; s.c_by = 0;
        answer = KEPT
    :: else -> answer = REJECTED
    fi
}

/* ANNOUNCE. A number that no forgetting and no other scan has. */
inline announce_script() {
    forgettings++;
#ifdef GENERATION_COUNTS
    gen = s.g + 1
#else
    gen = forgettings
#endif
}

/* REPLACE, by the scan with the number `gen`: its own node hears of it by the answer. */
inline replace_script(a, node) {
    if
#ifdef SCANS_IN_ANY_ORDER
    :: true ->
#else
    :: s.g <= gen ->
#endif
        s.g = gen; s.l = url; s.l_g = gen; s.l_turn = 0;
        s.c = 0; s.c_g = 0; s.c_by = 0;
        counted = (need > counted -> need : counted);
        tell(1 - NODE_OF(a), counted);
        answer = KEPT
    :: else -> answer = REJECTED
    fi
}

inline give_up_script(a) {
    holding[a] = 0;
    if
    :: s.n == fence -> s.c = 0; s.c_g = 0; s.c_by = 0; s.f = 1
    :: else
    fi
}

inline remember(a, node, generation) {
#ifdef NO_STAMP
    if
    :: true ->
#else
    if
    :: !spoilt[a] ->
#endif
        mem[node] = url; mem_g[node] = generation; fresh[node] = 1
    :: else
    fi
}

/* What the store may not know: it is asked before this is sent from memory. */
inline remember_alone(a, node) {
    if
    :: !spoilt[a] -> mem[node] = url; mem_g[node] = 0;
#ifdef TRUSTS_LOST_KEEPS
        fresh[node] = 1
#else
        fresh[node] = 0
#endif
    :: else
    fi
}

/* What a request may be answered with. */
inline serve() {
#ifndef FAILOVER_FORGETS
    assert(born[url] >= need);
#else
    /* A fail-over that lost a forgetting brings older URLs back, but never to the one who asked for it, nor by a node that knows of it. */
    assert(!post || born[url] >= need);
    assert(born[url] >= known);
#endif
}

proctype Flight(byte a; byte node; byte requests) {
    mtype answer;
    byte url, gen, fence, known, need;
    bool post, minted, had;

next:
    atomic {
        url = 0; gen = 0; fence = 0; known = 0; need = 0; post = 0; minted = 0; had = 0; answer = 0;
        if
        :: requests == 0 -> goto done
        :: else -> requests--
        fi
    };
    if
    :: atomic { /* GET */
        need = must[node];
        if
        :: mem[node] && fresh[node] -> url = mem[node]; serve(); goto next
        :: else -> busy++; known = mem_g[node]; had = (mem[node] != 0)
        fi }
    :: atomic { posts < POSTS && !(!cut[node] && owes[node]) -> /* "scan again" */
        posts++; busy++; post = 1; spoilt[a] = 0;
        if
        :: !cut[node] -> announce_script()
        :: else -> forgettings++
        fi;
        need = forgettings; goto scan }
    fi;

begin:
    if
    /* Before anything else is asked of the store. */
    :: atomic { !cut[node] && owes[node] -> forget_script(); known = s.g; owes[node] = 0; goto begin }
    :: atomic { !cut[node] && !owes[node] -> begin_script(a) }
    :: atomic { cut[node] -> spoilt[a] = 0; goto alone }
    fi;
    if
    :: atomic { answer == HELD -> serve(); remember(a, node, gen); goto answered }
#ifdef FAILED_ANSWERS_HOLDERS
    :: atomic { answer == FAILED -> assert(!had || mem[node] == 0 || mem_g[node] != gen); goto answered }
#else
    /* Who holds a lease of this generation serves it, and asks again the next time. */
    :: atomic { answer == FAILED ->
        if
        :: mem[node] && mem_g[node] == gen -> url = mem[node]; serve()
        :: else
        fi;
        goto answered }
#endif
#ifdef WAKE_ONLY
    :: atomic { answer == WAIT -> false }
#else
    :: atomic { answer == WAIT && (!WAITS || s.f || cut[node] || (s.l && s.l_g == s.g)) -> goto begin }
#endif
    :: atomic { answer == TURN ->
        known = gen;
        if
        :: mem[node] && (mem_g[node] == gen ZERO_RULE) -> url = mem[node]; goto keep
        :: else
        fi;
#ifdef HOLDER_KEEPS
        assert(!had || mem[node] == 0);
#endif
        minted = 1; urls++; url = urls; born[url] = forgettings;
#ifdef CHECK_CALLS
        /* (1) one vendor call at a time */
        assert(calls[gen] == 0);
#endif
        calls[gen]++ }
    fi;

    if
    :: atomic { calls[gen]-- }
    :: atomic { failures < FAILURES -> failures++; calls[gen]-- };
        if
        :: atomic { !cut[node] -> give_up_script(a); goto answered }
        :: atomic { cut[node] -> holding[a] = 0; goto answered }
        fi
    :: atomic { deaths < DEATHS -> deaths++; calls[gen]--; holding[a] = 0; busy--; goto done }
    fi;

keep:
    if
    :: atomic { !cut[node] -> keep_script(a) }
    :: atomic { cut[node] -> holding[a] = 0; serve(); remember_alone(a, node); goto answered }
    :: atomic { !cut[node] && lost_answers < LOST_ANSWERS -> lost_answers++;
        if
        :: keep_script(a)
        :: spoilt[a] = 0; holding[a] = 0
        fi };
        if
        /* Once more over the next connection. */
        :: atomic { !cut[node] -> holding[a] = 0; goto keep }
        :: atomic { serve(); remember_alone(a, node); goto answered }
        fi
    fi;
    if
    :: atomic { answer == KEPT -> serve(); remember(a, node, gen); goto answered }
    :: atomic { answer == REJECTED -> minted = 0; goto begin }
    fi;

scan: /* What is held goes on until the new URL has come. */
    atomic { minted = 1; urls++; url = urls; born[url] = forgettings };
    if
    :: true
    :: atomic { failures < FAILURES -> failures++; goto answered }
    :: atomic { deaths < DEATHS -> deaths++; busy--; goto done }
    fi;
    if
    /* Forgotten meanwhile, or given up for another scan: it answers, and is not kept. */
    :: atomic { spoilt[a] -> goto answered }
    :: atomic { !spoilt[a] && gen && !cut[node] -> replace_script(a, node) }
    :: atomic { !spoilt[a] && (!gen || cut[node]) -> goto owed }
    :: atomic { !spoilt[a] && gen && !cut[node] && lost_answers < LOST_ANSWERS -> lost_answers++;
        if
        :: replace_script(a, node)
        :: true
        fi;
        goto owed }
    fi;
    if
    :: atomic { answer == KEPT ->
        /* A forgetting that came between the two has spoilt it. */
        had = spoilt[a];
#ifdef KEEPS_WHAT_IT_GOT_MEANWHILE
        mem[node] = 0; mem_g[node] = 0; fresh[node] = 0;
#else
        forget_memory(node);
#endif
        if
        :: !had -> mem[node] = url; mem_g[node] = gen; fresh[node] = 1
        :: else
        fi;
        if
        :: must[node] < need -> must[node] = need
        :: else
        fi;
        goto answered }
    :: atomic { answer == REJECTED -> goto answered }
    fi;

owed: /* The store may have it or not, and will be told to forget whatever it has. */
    atomic {
        had = spoilt[a];
        forget_memory(node);
        spoilt[a] = had;
        if
        :: must[node] < need -> must[node] = need
        :: else
        fi;
#ifndef OWES_NOTHING
        owes[node] = 1;
#endif
        if
        :: cut[node] -> remember(a, node, 0)
        :: else -> remember_alone(a, node)
        fi;
        goto answered
    };

alone: /* A mint of this node alone, of no generation. */
    atomic { urls++; url = urls; born[url] = forgettings };
    atomic { serve(); remember(a, node, 0) };

answered:
    atomic { busy--; goto next };

done:
    atomic { finished++ }
}

inline lose_subscription(node) {
    subscribed[node] = 0; bumped[node] = 0;
    do
    :: nempty(drop[node]) -> drop[node] ? heard
    :: empty(drop[node]) -> break
    od;
    heard = 0
}

inline bump(node) { fresh[node] = 0; spoil(node); bumped[node] = 1 }

#define ORPHAN (!(holding[s.c_by] && turn[s.c_by] == turns))
#define CONNECTED(node) (subscribed[node] && bumped[node] && empty(drop[node]) && !owes[node])

inline hear(node) {
    drop[node] ? heard;
#ifndef DEAF
    forget_memory(node);
#endif
    if
    :: must[node] < heard -> must[node] = heard
    :: else
    fi;
    heard = 0
}

inline blank() {
    s.g = 0; s.n = 0; s.c = 0; s.c_g = 0; s.c_by = 0; s.l = 0; s.l_g = 0; s.l_turn = 0; s.f = 0
}

/* Time and faults. */
proctype World() {
    byte heard;
end:
    do
    :: atomic { s.c && ORPHAN -> s.c = 0; s.c_g = 0; s.c_by = 0 }
    :: atomic { s.c && !ORPHAN && stalls < STALLS -> stalls++; s.c = 0; s.c_g = 0; s.c_by = 0 }
    :: atomic { s.f -> s.f = 0 }
    :: atomic { nempty(drop[0]) -> hear(0) }
    :: atomic { nempty(drop[1]) -> hear(1) }
#if ADMINS
    :: atomic { admins < ADMINS -> admins++; forget_script() }
#endif
#if LOST_DROPS
    :: atomic { nempty(drop[0]) && lost_drops < LOST_DROPS -> lost_drops++; drop[0] ? heard; heard = 0 }
    :: atomic { nempty(drop[1]) && lost_drops < LOST_DROPS -> lost_drops++; drop[1] ? heard; heard = 0 }
#endif
#if BREAKS
    :: atomic { breaks < BREAKS && subscribed[0] -> breaks++; lose_subscription(0) }
    :: atomic { breaks < BREAKS && subscribed[1] -> breaks++; lose_subscription(1) }
#endif
#ifdef BUMP_EARLY
    :: atomic { !cut[0] && !subscribed[0] && !bumped[0] -> bump(0) }
    :: atomic { !cut[1] && !subscribed[1] && !bumped[1] -> bump(1) }
    :: atomic { !cut[0] && !subscribed[0] && bumped[0] -> subscribed[0] = 1; must[0] = counted }
    :: atomic { !cut[1] && !subscribed[1] && bumped[1] -> subscribed[1] = 1; must[1] = counted }
#else
    :: atomic { !cut[0] && !subscribed[0] -> subscribed[0] = 1 }
    :: atomic { !cut[1] && !subscribed[1] -> subscribed[1] = 1 }
#ifdef NO_EPOCH
    :: atomic { subscribed[0] && !bumped[0] && !owes[0] -> bumped[0] = 1; must[0] = counted }
    :: atomic { subscribed[1] && !bumped[1] && !owes[1] -> bumped[1] = 1; must[1] = counted }
#else
    :: atomic { subscribed[0] && !bumped[0] && !owes[0] -> bump(0); must[0] = counted }
    :: atomic { subscribed[1] && !bumped[1] && !owes[1] -> bump(1); must[1] = counted }
#endif
#endif
#ifndef OWED_IS_FORGOTTEN
    :: atomic { !cut[0] && owes[0] -> forget_script(); owes[0] = 0 }
    :: atomic { !cut[1] && owes[1] -> forget_script(); owes[1] = 0 }
#endif
#if CUTS
    :: atomic { cuts < CUTS && !cut[0] -> cuts++; cut[0] = 1; lose_subscription(0) }
    :: atomic { cuts < CUTS && !cut[1] -> cuts++; cut[1] = 1; lose_subscription(1) }
    :: atomic { cut[0] && !owes[0] -> cut[0] = 0 }
    :: atomic { cut[1] && !owes[1] -> cut[1] = 0 }
    /* Before anything else is asked of the store. */
#ifdef OWED_IS_FORGOTTEN
    :: atomic { cut[0] && owes[0] -> owes[0] = 0 }
    :: atomic { cut[1] && owes[1] -> owes[1] = 0 }
#else
    :: atomic { cut[0] && owes[0] -> forget_script(); owes[0] = 0 }
    :: atomic { cut[1] && owes[1] -> forget_script(); owes[1] = 0 }
#endif
#endif
#if FAILOVERS
    :: atomic { !copied -> copied = 1;
        r.g = s.g; r.n = s.n; r.c = s.c; r.c_g = s.c_g; r.c_by = s.c_by;
        r.l = s.l; r.l_g = s.l_g; r.l_turn = s.l_turn; r.f = s.f }
    :: atomic { copied && failovers < FAILOVERS -> failovers++;
        s.g = r.g; s.n = r.n; s.c = r.c; s.c_g = r.c_g; s.c_by = r.c_by;
        s.l = r.l; s.l_g = r.l_g; s.l_turn = r.l_turn; s.f = r.f;
        r.g = 0; r.n = 0; r.c = 0; r.c_g = 0; r.c_by = 0; r.l = 0; r.l_g = 0; r.l_turn = 0; r.f = 0;
        lose_subscription(0); lose_subscription(1) }
#endif
#if LOSSES
    /* Every node has heard every forgetting; else the dropped lease of one that has not comes back. */
    :: atomic { losses < LOSSES LOSS_GUARD -> losses++; blank(); lose_subscription(0); lose_subscription(1) }
#endif
#if EXPIRIES
    /* What is older than the forgetting has ended long ago. */
    :: atomic { expiries < EXPIRIES && s.g && busy == 0 && empty(drop[0]) && empty(drop[1]) -> expiries++;
        if
        :: s.l_g != s.g KEEP_RENEWS -> s.l = 0; s.l_g = 0; s.l_turn = 0
        :: else
        fi;
        if
        :: mem_g[0] != s.g KEEP_RENEWS -> mem[0] = 0; mem_g[0] = 0; fresh[0] = 0
        :: else
        fi;
        if
        :: mem_g[1] != s.g KEEP_RENEWS -> mem[1] = 0; mem_g[1] = 0; fresh[1] = 0
        :: else
        fi;
        kept[0] = 0;
        s.g = 0 }
#endif
    od
}

/* One more GET at a node, with nobody else about. */
inline ask(node) {
    if
    :: mem[node] && fresh[node] -> url = mem[node]
    :: else ->
        if
        :: mem_g[node] > s.g -> s.g = mem_g[node];
#ifndef RAISED_IN_SILENCE
            /* The other one hears of it. */
            mem[1 - node] = 0; mem_g[1 - node] = 0; fresh[1 - node] = 0
#endif
        :: else
        fi;
        if
        :: s.l && s.l_g == s.g -> url = s.l
        :: else ->
            if
            :: mem[node] && mem_g[node] == s.g -> url = mem[node]
            :: else -> urls++; url = urls; born[url] = forgettings
            fi;
            s.l = url; s.l_g = s.g
        fi;
        mem[node] = url; mem_g[node] = s.g; fresh[node] = 1
    fi;
#ifndef FAILOVER_FORGETS
    assert(born[url] >= must[node])
#endif
}

/* (4) In the end all nodes that ask get the same URL. */
proctype Judge() {
    byte url, first;
    atomic {
        finished == FLIGHTS && CONNECTED(0) && CONNECTED(1) && !cut[0] && !cut[1] ->
#if !LOST_DROPS
        /* The first answer may be of what one node knows and the other not. */
        ask(0); ask(1); ask(0); first = url; ask(1);
        assert(url == first)
#endif
    }
}

init {
    atomic {
        subscribed[0] = 1; subscribed[1] = 1; bumped[0] = 1; bumped[1] = 1;
#if START_HELD
        urls = 1; s.l = 1; mem[0] = 1; fresh[0] = 1; kept[0] = 1;
#endif
        run World(); run Judge();
        run Flight(0, 0, REQUESTS_0); run Flight(1, 1, REQUESTS_1); run Flight(2, 1, REQUESTS_2)
    }
}

/* (2) */
#ifdef LIVE
ltl everybody_ends { <> (finished == FLIGHTS) }
#endif
