"""Properties of acceptance profiles and draft trees, over random profiles and trees."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.acceptance import dynamic_trees, positions, profiles, tree_search, trees
from scylla_sim.acceptance import profiles as acceptance_profiles
from scylla_sim.testing.strategies import profiles as profiles_of_chains
from scylla_sim.testing.strategies import rank_profiles, trees_within


@given(profiles_of_chains(), st.data())
def test_a_higher_rate_never_lowers_tau(alpha, data):
    better = alpha.copy()
    i = data.draw(st.integers(0, len(alpha) - 1))
    better[i] = data.draw(st.floats(alpha[i], 1))
    assert profiles.tokens_per_cycle(better) >= profiles.tokens_per_cycle(alpha) - 1e-12


@given(st.floats(0, 1), st.integers(1, 30))
def test_the_closed_form_is_the_sum(alpha, gamma):
    summed = profiles.tokens_per_cycle(np.full(gamma, alpha))
    assert acceptance_profiles.iid_tokens_per_cycle(alpha, gamma) == pytest.approx(float(summed), rel=1e-9)


@given(st.floats(0, 1), st.integers(1, 20))
def test_rate_to_tau_and_back_restores_the_rate(alpha, gamma):
    tau = acceptance_profiles.iid_tokens_per_cycle(alpha, gamma)
    again = acceptance_profiles.iid_tokens_per_cycle(profiles.iid_rate(tau, gamma), gamma)
    assert again == pytest.approx(float(tau), rel=1e-9)


@given(st.floats(0, 1), st.integers(1, 64))
def test_the_rank_law_is_a_falling_distribution_that_keeps_the_top_rate(alpha, top_k):
    p = profiles.rank_profile(alpha, top_k)
    assert p[0] == pytest.approx(alpha)
    assert (np.diff(p) <= 1e-12).all()
    assert p.sum() <= 1 + 1e-12


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 16))
def test_a_better_draft_is_better_within_every_top_k(one, other, top_k):
    low, high = sorted((one, other))
    worse, better = (np.cumsum(profiles.rank_profile(a, top_k)) for a in (low, high))
    assert (worse <= better + 1e-12).all()


@given(st.data())
def test_one_more_node_never_lowers_tau(data):
    """A tree has at least the tau of every chain that it contains."""
    p = data.draw(rank_profiles())
    tree = data.draw(trees_within(p))
    paths = tree.paths()
    leaves = [path for path in paths if not any(other[:-1] == path for other in paths)]
    if len(paths) > 1:
        paths.remove(data.draw(st.sampled_from(leaves)))
        smaller = trees.from_paths(paths)
        assert trees.tokens_per_cycle(smaller, p) <= trees.tokens_per_cycle(tree, p) + 1e-12
    if all((0,) * d in tree.paths() for d in range(1, tree.draft_len + 1)):
        chain = profiles.tokens_per_cycle(p[: tree.draft_len, 0])
        assert trees.tokens_per_cycle(tree, p) >= chain - 1e-12


@given(st.data())
def test_the_order_of_nodes_does_not_matter(data):
    p = data.draw(rank_profiles())
    tree = data.draw(trees_within(p))
    # Any order that keeps parents first: sort by depth, shuffle within.
    key = data.draw(st.permutations(range(tree.num_nodes)))
    order = sorted(range(tree.num_nodes), key=lambda node: (tree.depths[node], key[node]))
    place = {node: i for i, node in enumerate(order)} | {-1: -1}
    shuffled = trees.DraftTree(
        tuple(place[tree.parents[node]] for node in order), tuple(tree.ranks[node] for node in order)
    )
    assert trees.tokens_per_cycle(shuffled, p) == pytest.approx(float(trees.tokens_per_cycle(tree, p)))
    assert sorted(shuffled.paths()) == sorted(tree.paths())


def _all_subtrees(profile, nodes):
    """Return all trees of ``nodes`` nodes that a profile covers, as sets of paths."""
    depth, ranks = profile.shape
    paths = [path for d in range(1, depth + 1) for path in itertools.product(range(ranks), repeat=d)]
    for chosen in itertools.combinations(paths, nodes):
        held = set(chosen)
        if all(len(path) == 1 or path[:-1] in held for path in chosen):
            yield chosen


@settings(max_examples=40, deadline=None)
@given(rank_profiles(max_depth=3, max_ranks=2), st.integers(1, 5))
def test_the_best_tree_is_the_best_of_all_trees(p, nodes):
    most = sum(p.shape[1] ** d for d in range(1, p.shape[0] + 1))
    nodes = min(nodes, most)
    best = max(float(trees.tokens_per_cycle(trees.from_paths(paths), p)) for paths in _all_subtrees(p, nodes))
    assert trees.tokens_per_cycle(tree_search.best_tree(p, nodes), p) == pytest.approx(best, abs=1e-12)


@given(rank_profiles(min_ranks=2), st.integers(1, 40))
def test_more_nodes_never_make_the_best_tree_worse(p, nodes):
    small, large = (trees.tokens_per_cycle(tree_search.best_tree(p, n), p) for n in (nodes, nodes + 1))
    assert large >= small - 1e-12


@given(rank_profiles(min_ranks=2), st.integers(1, 40))
def test_more_choices_never_make_the_best_tree_worse(p, nodes):
    p = -np.sort(-p, axis=1)
    taus = [
        float(trees.tokens_per_cycle(tree_search.best_tree(p[:, :k], nodes), p[:, :k]))
        for k in range(1, p.shape[1] + 1)
    ]
    assert (np.diff(taus) >= -1e-12).all()


@given(st.floats(0.01, 0.99), st.integers(1, 5), st.integers(1, 4), st.data())
def test_more_verified_tokens_never_lower_tau(alpha, steps, top_k, data):
    p = np.broadcast_to(profiles.rank_profile(alpha, top_k), (steps, top_k))
    most = top_k + (steps - 1) * top_k**2 + 1
    few, many = sorted(data.draw(st.integers(2, most)) for _ in range(2))
    less, more = (
        float(trees.tokens_per_cycle(tree_search.beam_tree(p, top_k=top_k, verify_tokens=n), p))
        for n in (few, many)
    )
    assert less <= more + 1e-12


@given(st.floats(0.01, 0.99), st.integers(1, 6), st.integers(1, 5), st.integers(1, 30))
def test_a_beam_is_never_better_than_the_best_tree_of_its_size(alpha, steps, top_k, nodes):
    p = np.broadcast_to(profiles.rank_profile(alpha, top_k), (steps, top_k))
    limit = min(nodes, top_k + (steps - 1) * top_k**2)
    beam = tree_search.beam_tree(p, top_k=top_k, verify_tokens=limit + 1)
    assert beam.num_nodes == limit
    best = tree_search.best_tree(p, limit)
    assert trees.tokens_per_cycle(beam, p) <= trees.tokens_per_cycle(best, p) + 1e-12


def _simulate(tree, p, cycles, rng):
    """Walk the tree: at each node the target's token is rank r of the draft with probability p[depth, r]."""
    children = {edge: node for node, edge in enumerate(zip(tree.parents, tree.ranks))}
    edges = np.cumsum(p, axis=1)
    tokens = np.ones(cycles)
    for cycle in range(cycles):
        node = -1
        for depth in range(tree.draft_len):
            rank = int(np.searchsorted(edges[depth], rng.random(), side="right"))
            node = children.get((node, rank))
            if node is None:
                break
            tokens[cycle] += 1
    return tokens


def _chain(data, p):
    return trees.chain(data.draw(st.integers(1, p.shape[0])))


def _full(data, p):
    depth = data.draw(st.integers(1, min(p.shape[0], 3)))
    return trees.full_tree([data.draw(st.integers(1, p.shape[1])) for _ in range(depth)])


def _sparse(data, p):
    return data.draw(trees_within(p))


def _best(data, p):
    return tree_search.best_tree(p, data.draw(st.integers(1, 20)))


def _beam(data, p):
    """SGLang's (steps, topk, num_draft_tokens)."""
    k = data.draw(st.integers(1, p.shape[1]))
    candidates = k + (p.shape[0] - 1) * k**2
    tokens = data.draw(st.none() | st.integers(2, candidates + 1))
    return tree_search.beam_tree(-np.sort(-p, axis=1), top_k=k, verify_tokens=tokens)


@settings(max_examples=8, deadline=None)
@pytest.mark.parametrize("build", [_chain, _full, _sparse, _best, _beam], ids=lambda build: build.__name__[1:])
@given(st.data(), st.integers(0, 2**32 - 1))
def test_a_simulated_tree_agrees_with_the_formula(build, data, seed):
    """The mean and the survival at each depth of 4,000 cycles agree within 5 standard errors."""
    p = data.draw(rank_profiles())
    if build is _beam:
        p = -np.sort(-p, axis=1)
    tree = build(data, p)
    cycles = 4000
    tokens = _simulate(tree, p, cycles, np.random.default_rng(seed))
    tau = float(trees.tokens_per_cycle(tree, p))
    assert abs(tokens.mean() - tau) <= 5 * tokens.std() / np.sqrt(cycles) + 5 * tree.draft_len / cycles
    survival = trees.depth_survival(tree, p)
    seen = np.array([(tokens > depth).mean() for depth in range(1, tree.draft_len + 1)])
    spread = np.sqrt(survival * (1 - survival) / cycles)
    assert (np.abs(seen - survival) <= 5 * spread + 5 / cycles).all()


def _grown(p, top_k, nodes, rng):
    """Return EAGLE-2's tree of a random context, and the class of the context after each path."""
    kinds, depth = p.shape[:2]
    value, kind, beam = {(): 1.0}, {(): rng.integers(kinds)}, [()]
    for level in range(depth):
        grown = []
        for path in beam:
            for rank in range(top_k):
                child = (*path, rank)
                value[child] = value[path] * p[kind[path], level, rank]
                kind[child] = rng.integers(kinds)
                grown.append(child)
        beam = sorted(grown, key=lambda path: -value[path])[:top_k]
    return set(sorted(list(value)[1:], key=lambda path: -value[path])[:nodes]), kind


def _accepted(p, chosen, kind, rng):
    """Return the number of drafted tokens that the target accepts."""
    path = ()
    while len(path) < p.shape[1]:
        edges = np.cumsum(p[kind[path], len(path)])
        child = (*path, int(np.searchsorted(edges, rng.random(), side="right")))
        if child not in chosen:
            break
        path = child
    return len(path)


@settings(max_examples=8, deadline=None)
@given(
    st.floats(0.2, 0.9),
    st.floats(0, 0.6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.data(),
    st.integers(0, 2**32 - 1),
)
def test_a_simulated_dynamic_tree_agrees_with_its_integral(rate, confidence, depth, top_k, data, seed):
    """1,000 simulated cycles agree with 1,000 integrated trees within 5 standard errors."""
    rates = positions.position_profile(rate, depth, exponent=0.66)
    mixed = dynamic_trees.mixture_of(rates, top_k, confidence=confidence)
    tokens = data.draw(st.integers(2, top_k + (depth - 1) * top_k**2 + 1))
    tau, error = dynamic_trees.dynamic_tokens_per_cycle(
        mixed, top_k=top_k, verify_tokens=tokens, samples=1000, seed=seed
    )
    rng, cycles = np.random.default_rng(seed + 1), 1000
    p = mixed.rank_probability
    seen = np.array([1 + _accepted(p, *_grown(p, top_k, tokens - 1, rng), rng) for _ in range(cycles)])
    allowed = 5 * np.hypot(error, seen.std() / np.sqrt(cycles)) + 5 * depth / cycles
    assert abs(seen.mean() - tau) <= allowed
    assert 1 <= tau <= depth + 1


@settings(max_examples=20, deadline=None)
@given(rank_profiles(max_depth=5, max_ranks=4), st.integers(1, 200))
def test_best_tree_pushes_at_most_two_entries_per_node(p, nodes):
    """Two heap entries per node make the search O(n log n)."""
    pushes = []
    real = tree_search.heapq.heappush
    tree_search.heapq.heappush = lambda heap, item: (pushes.append(1), real(heap, item))
    try:
        tree = tree_search.best_tree(p, nodes)
    finally:
        tree_search.heapq.heappush = real
    assert len(pushes) <= 2 * tree.num_nodes
