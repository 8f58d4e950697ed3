/* What the end of a session does at two nodes with one store (docs/lease-protocol.md, "Revocations"): one person, one plug-in. OLD is the session
 * that ends, NEW the one that the person begins afterwards. Node 0 is told; node 1 hears of it.
 *
 * The list of a node is two things that are written one after the other: the entry, and the number that cached verdicts are compared with. A
 * lease is a URL in a node's memory and in the store, there with the generation under which it was kept. Messages arrive in the order in which they
 * were sent, whenever they like. Ghosts: `heard` is the moment from which on a node must let nobody in, `whose` for whom a URL was minted.
 *
 * Macros that break something are in `check`.
 */
#define NODES 2
#define URLS 8

mtype = { OLD, NEW, REVOKED, DROP };

/* The store: generation, lease, the generation of the lease. */
byte g, l, l_g;

/* The nodes. */
bool entry[NODES];          /* the list has it */
byte number[NODES];         /* changes with each entry */
byte stamp[NODES];          /* of OLD's cached verdict */
byte mem[NODES];
bool busy[NODES];
bool owes[NODES];           /* a forgetting that the store is yet to be told */
chan news[NODES] = [6] of { mtype };

bool spoilt[8];             /* of each flight: the node forgot after it began */
bool heard[NODES];
mtype whose[URLS];
byte urls, flights_done;
bool revoked;

#ifndef OLD_0
#define OLD_0 1             /* requests of OLD at node 0, one after the other */
#endif
#ifndef OLD_1
#define OLD_1 2
#endif
#ifndef NEW_0
#define NEW_0 1             /* of NEW, from the answer to the revocation on */
#endif
#ifndef NEW_1
#define NEW_1 1
#endif

#define NODE_OF(a) (a % 2)

inline spoil(node) { spoilt[node] = 1; spoilt[node + 2] = 1 }

inline note_1(node) {
#ifdef NUMBER_FIRST
    number[node]++
#else
    entry[node] = 1
#endif
}

inline note_2(node) {
#ifdef NUMBER_FIRST
    entry[node] = 1;
#else
    number[node]++;
#endif
    heard[node] = 1
}

inline forget_script(node) {
    g++;
    news[1 - node] ! DROP
}

/* What a node drops that has heard. Without a subject (BY_SESSION) flights go on: they look at the list themselves. */
inline forget_here(node) {
#ifndef HEARS_AND_TELLS_NOBODY
    if
    :: node == 1 && mem[node] -> owes[node] = 1
    :: else
    fi;
#endif
    mem[node] = 0;
#ifndef BY_SESSION
    spoil(node)
#endif
}

proctype Revoke() {
    atomic { note_1(0) };
    atomic { note_2(0) };
    atomic { forget_here(0) };
    /* The others hear of the end before the store forgets: who keeps a lease of the store's new generation has not heard, and finds it in its memory
     * when it does. */
#ifdef BY_SESSION
    atomic { news[1] ! REVOKED };
#elif defined(NO_FORGET)
    atomic { news[1] ! REVOKED };
#elif defined(FORGETS_FIRST)
    atomic { forget_script(0) };
    atomic { news[1] ! REVOKED };
#else
    atomic { news[1] ! REVOKED };
    atomic { forget_script(0) };
#endif
    revoked = 1
}

/* Messages, and what is owed. */
proctype Node(byte node) {
end:
    do
    :: atomic { news[node] ? DROP -> mem[node] = 0; spoil(node) }
    :: atomic { news[node] ? REVOKED -> note_1(node) };
        atomic { note_2(node) };
        atomic { forget_here(node) }
    :: atomic { owes[node] -> forget_script(node); owes[node] = 0 }
    od
}

/* Requests of one session at one node. */
proctype Flight(byte a; mtype who; byte requests) {
    byte node = NODE_OF(a);
    byte seen, url, generation;
    bool late;

next:
    atomic {
        seen = 0; url = 0; generation = 0; late = 0;
        if
        :: requests == 0 -> goto done
        :: else -> requests--
        fi
    };
    if
    :: who == NEW -> goto opened
    :: else
    fi;
    /* The cached verdict. */
    atomic {
        late = heard[node];
#ifndef NUMBER_READ_LATE
        seen = number[node];
#endif
        if
        :: stamp[node] == number[node] -> goto opened
        :: else
        fi
    };
    atomic {
        if
        :: entry[node] -> goto next
        :: else
        fi
    };
    atomic {
#ifdef NUMBER_READ_LATE
        seen = number[node];
#endif
        stamp[node] = seen
    };

opened:
    /* 1: nobody is let in whose request began after the node had heard. */
    atomic { assert(!late) };
    if
    :: atomic { mem[node] -> goto next }
    :: atomic { !mem[node] && !busy[node] -> busy[node] = 1; spoilt[a] = 0 }    /* one flight of a node at a time */
    fi;
    atomic { /* the store is told first */
        if
        :: owes[node] -> forget_script(node); owes[node] = 0
        :: else
        fi
    };
    atomic { /* BEGIN */
        generation = g;
        if
        :: l && l_g == g -> url = l; goto adopt
        :: else
        fi
    };
    atomic { urls++; url = urls; whose[url] = who };
#ifndef NO_FIRST_LOOK
    atomic {
        if
        :: who == OLD && entry[node] -> busy[node] = 0; goto next
        :: else
        fi
    };
#endif
    atomic { /* KEEP */
        if
        :: g == generation -> l = url; l_g = g
        :: else
        fi
    };
adopt:
    atomic {
        if
        :: !spoilt[a] -> mem[node] = url
        :: else
        fi
    };
#ifndef NO_SECOND_LOOK
    atomic {
        if
        :: who == OLD && entry[node] ->
            if
            :: mem[node] == url -> mem[node] = 0
            :: else
            fi;
#ifndef HEARS_AND_TELLS_NOBODY
#ifndef BY_SESSION
            if
            :: node == 1 -> owes[node] = 1
            :: else
            fi;
#endif
#endif
        :: else
        fi
    };
#endif
    atomic { busy[node] = 0; goto next };

done:
    atomic { flights_done++ }
}

/* 2: in the end nothing is held that was minted for the session that has ended. */
proctype Judge() {
    atomic { /* when nothing else can happen */
        timeout ->
        assert(flights_done == 4 && revoked && heard[1]);
        assert(!mem[0] || whose[mem[0]] == NEW);
        assert(!mem[1] || whose[mem[1]] == NEW);
#ifndef BY_SESSION
        assert(!l || l_g != g || whose[l] == NEW)
#endif
    }
}

proctype Later() {
    revoked;
    run Flight(2, NEW, NEW_0); run Flight(3, NEW, NEW_1)
}

init {
    atomic {
        number[0] = 1; number[1] = 1;       /* somebody else has been revoked */
#ifdef START_HELD
        urls = 1; whose[1] = OLD; l = 1; mem[0] = 1; mem[1] = 1;
#endif
        run Node(0); run Node(1); run Judge(); run Revoke();
        run Flight(0, OLD, OLD_0); run Flight(1, OLD, OLD_1); run Later()
    }
}
