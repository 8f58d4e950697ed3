/* How revocations spread among two nodes with one store (docs/lease-protocol.md, "Revocations"). The entries of the store stand in an order of
 * places; a node remembers the last place that it has read. Whoever has a revocation to write calls one of the nodes.
 *
 * Each script is one atomic step. Faults happen at any step, each as often as its bound says. Ghosts: `answered[r]` is the 204, `lost[r]` says that
 * once neither the store nor a living node knew of r, `due[node]` what the store had when the node began to ask it.
 *
 * Macros that break something are in `check`.
 */
#define NODES 2
#define REVS 2

#ifndef DEATHS
#define DEATHS 0            /* nodes that die, and start again with an empty memory */
#endif
#ifndef BREAKS
#define BREAKS 0            /* subscriptions that break */
#endif
#ifndef LOST_MESSAGES
#define LOST_MESSAGES 0     /* while the subscription stands */
#endif
#ifndef LOSSES
#define LOSSES 0            /* the store forgets everything, and its connections break */
#endif
#ifndef SILENT_LOSSES
#define SILENT_LOSSES 0     /* the same, and the connections stand: a fail-over behind a proxy */
#endif
#ifndef OUTAGES
#define OUTAGES 0           /* the store can't be asked for a time, by nobody */
#endif
#ifndef LOST_ANSWERS
#define LOST_ANSWERS 0      /* writes whose answer is lost, whether or not the store has them */
#endif

mtype = { ASKING, WHOLE, LOST };

/* The store. A place is never given twice: it is the time, or one more than the last. */
bool has[REVS];
byte place[REVS];
byte places;
bool gone;

/* The nodes. */
bool knows[NODES * REVS];
byte owes[NODES * REVS];    /* 1: the store is to be told; 2: it was told, and will be told once more */
mtype state[NODES];
bool subscribed[NODES];
byte read[NODES];
bool news[NODES * REVS];    /* messages on their way: the same twice, or in another order, changes nothing */
bool restarted[NODES];

/* Ghosts. */
bool begun[REVS], answered[REVS], lost[REVS];
bool due[NODES * REVS];
byte calls;
byte deaths, breaks, lost_messages, losses, outages, lost_answers;

#define AT(node, r) (node * REVS + r)

inline find_lost() {
    lost[0] = lost[0] || (begun[0] && !has[0] && !knows[AT(0, 0)] && !knows[AT(1, 0)]);
    lost[1] = lost[1] || (begun[1] && !has[1] && !knows[AT(0, 1)] && !knows[AT(1, 1)])
}

inline tell(node, r) {
    if
    :: subscribed[node] -> news[AT(node, r)] = 1
    :: else
    fi
}

/* REVOKE: writes what is new, and tells all in any case. */
inline revoke_script(r) {
    if
    :: !has[r] -> places++; place[r] = places; has[r] = 1
    :: else
    fi;
    tell(0, r); tell(1, r)
}

/* READ: from a place on. */
inline read_one(node, r) {
    if
    :: has[r] && place[r] > read[node] -> knows[AT(node, r)] = 1
    :: else
    fi
}
inline read_on(node) {
    read_one(node, 0); read_one(node, 1);
    if
    :: has[0] && place[0] > read[node] -> read[node] = place[0]
    :: else
    fi;
    if
    :: has[1] && place[1] > read[node] -> read[node] = place[1]
    :: else
    fi
}

/* What the store lacks, by LACKING, is written. */
inline give_back(node, r) {
    if
    :: knows[AT(node, r)] && !has[r] -> revoke_script(r)
    :: else
    fi
}

inline deafen(node) {
    subscribed[node] = 0; news[AT(node, 0)] = 0; news[AT(node, 1)] = 0
}

proctype Node(byte node) {
connect:
    /* Down there the store is silent: known is what is known. */
    if
    :: atomic { gone && state[node] != LOST -> state[node] = LOST; goto connect }
#ifdef READ_BEFORE_SUBSCRIBE
    :: atomic { !gone -> due[AT(node, 0)] = has[0]; due[AT(node, 1)] = has[1]; read[node] = 0; read_on(node) };
        atomic { subscribed[node] = 1 }
#else
    :: atomic { !gone -> due[AT(node, 0)] = has[0]; due[AT(node, 1)] = has[1]; subscribed[node] = 1 };
#ifndef READ_NOTHING
        atomic { read[node] = 0; read_on(node) }
#endif
#endif
    fi;
    if
    :: !subscribed[node] -> goto connect
    :: else
    fi;
#ifndef GIVES_NOTHING_BACK
    if
    :: atomic { !gone && subscribed[node] -> give_back(node, 0); give_back(node, 1) }
    :: atomic { gone || !subscribed[node] -> goto connect }
    fi;
#endif
    atomic {
        state[node] = WHOLE;
        /* 1: a node that serves knows what the store had when it began to ask: else somebody has heard of it, and after a restart it is as if nobody had. */
        assert(!due[AT(node, 0)] || knows[AT(node, 0)]);
        assert(!due[AT(node, 1)] || knows[AT(node, 1)])
    };

stay:
end:
    do
    :: atomic { news[AT(node, 0)] -> news[AT(node, 0)] = 0; knows[AT(node, 0)] = 1 }
    :: atomic { news[AT(node, 1)] -> news[AT(node, 1)] = 0; knows[AT(node, 1)] = 1 }
#ifndef NO_TICK
    :: atomic { !gone && subscribed[node] && ((has[0] && place[0] > read[node]) || (has[1] && place[1] > read[node])) -> read_on(node) }
#endif
#ifndef OWES_NOTHING
    :: atomic { !gone && subscribed[node] && owes[AT(node, 0)] -> revoke_script(0); owes[AT(node, 0)] = (owes[AT(node, 0)] == 1 -> 2 : 0) }
    :: atomic { !gone && subscribed[node] && owes[AT(node, 1)] -> revoke_script(1); owes[AT(node, 1)] = (owes[AT(node, 1)] == 1 -> 2 : 0) }
#endif
    /* A connection that breaks, a store that is gone, a process that has died. */
    :: atomic { !subscribed[node] || gone -> deafen(node);
        if
        :: restarted[node] -> restarted[node] = 0; state[node] = ASKING
        :: gone -> state[node] = LOST
        :: else -> state[node] = ASKING
        fi;
        goto connect }
    od
}

/* A call to one of the nodes: in force there, then written. */
proctype Call(byte r) {
    byte node;
    if
    :: node = 0
    :: node = 1
    fi;
#ifdef WRITES_FIRST
    if
    :: atomic { !gone -> begun[r] = 1; revoke_script(r); answered[r] = 1; calls++ }
    :: atomic { gone -> calls++ }
    fi
#else
    atomic { knows[AT(node, r)] = 1; owes[AT(node, r)] = 1; begun[r] = 1 };
    if
    :: atomic { knows[AT(node, r)] && !gone -> revoke_script(r); owes[AT(node, r)] = 2; answered[r] = 1; calls++ }
    :: atomic { knows[AT(node, r)] && !gone && lost_answers < LOST_ANSWERS -> lost_answers++; calls++;
        if
        :: revoke_script(r)
        :: true
        fi }
    /* 503: it is owed. */
    :: atomic { knows[AT(node, r)] && gone -> calls++ }
    /* The node died amid the call: nobody got an answer. */
    :: atomic { !knows[AT(node, r)] -> find_lost(); calls++ }
    fi
#endif
}

inline lose_all() {
    has[0] = 0; has[1] = 0; place[0] = 0; place[1] = 0;
#ifdef PLACES_BEGIN_AGAIN
    places = 0;
#endif
    due[0] = 0; due[1] = 0; due[2] = 0; due[3] = 0;
    find_lost()
}

inline die(node) {
    knows[AT(node, 0)] = 0; knows[AT(node, 1)] = 0; owes[AT(node, 0)] = 0; owes[AT(node, 1)] = 0;
    deafen(node); restarted[node] = 1; find_lost()
}

/* Within the seconds in which it will be written once more. */
#ifdef LOSS_AT_ANY_TIME
#define OWED(r) true
#else
#define OWED(r) (!has[r] || owes[AT(0, r)] || owes[AT(1, r)])
#endif

proctype World() {
end:
    do
    :: false
#if DEATHS
    :: atomic { deaths < DEATHS && state[0] == WHOLE -> deaths++; die(0) }
    :: atomic { deaths < DEATHS && state[1] == WHOLE -> deaths++; die(1) }
#endif
#if BREAKS
    :: atomic { breaks < BREAKS && subscribed[0] -> breaks++; deafen(0) }
    :: atomic { breaks < BREAKS && subscribed[1] -> breaks++; deafen(1) }
#endif
#if LOST_MESSAGES
    :: atomic { lost_messages < LOST_MESSAGES && (news[0] || news[1]) -> lost_messages++; news[0] = 0; news[1] = 0 }
    :: atomic { lost_messages < LOST_MESSAGES && (news[2] || news[3]) -> lost_messages++; news[2] = 0; news[3] = 0 }
#endif
#if LOSSES
    :: atomic { losses < LOSSES -> losses++; lose_all(); deafen(0); deafen(1) }
#endif
#if SILENT_LOSSES
    :: atomic { losses < SILENT_LOSSES && OWED(0) && OWED(1) -> losses++; lose_all() }
#endif
#if OUTAGES
    :: atomic { outages < OUTAGES && !gone -> outages++; gone = 1 }
    :: atomic { gone -> gone = 0 }
#endif
    od
}

/* 2: when nothing else can happen, everybody knows what was answered, and what a living node was told; and the store has it. */
proctype Judge() {
    byte r;
    atomic {
        timeout ->
        assert(calls == REVS && state[0] == WHOLE && state[1] == WHOLE);
        for (r : 0 .. REVS - 1) {
            assert(lost[r] || (knows[AT(0, r)] && knows[AT(1, r)]));
            assert(lost[r] || has[r]);
#if !LOSSES && !SILENT_LOSSES
            /* 3: without a loss of the store nothing that was answered is ever lost. */
            assert(!answered[r] || !lost[r])
#endif
        }
    }
}

init {
    atomic {
        state[0] = ASKING; state[1] = ASKING;
        run Node(0); run Node(1); run World(); run Judge();
        run Call(0); run Call(1)
    }
}
