"""Results of scenarios: pairs (passed, failed)."""


def add(one, other):
    return one[0] + other[0], one[1] + other[1]


def check(*checks):
    """(name, have, want) as tests, where pgTAP cannot be: it needs temporary tables."""
    wrong = [(name, have, want) for name, have, want in checks if have != want]
    for name, have, want in wrong:
        print(f"not ok: {name}: have {have!r}, want {want!r}")
    return len(checks) - len(wrong), len(wrong)


def fail(why):
    print(why)
    return 0, 1
