from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.trust.keys import make_key
from reprise_trainer.errors import InputError
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, key_hint, make_statement, public_pem, sign_statement
from reprise_trainer.identity.judge import all_hold, evaluate
from reprise_trainer.identity.policy import Policy, PolicyKey, SignerIdentity, allows, read_policy, write_policy

IMAGE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
SBOM = "https://spdx.dev/Document"
KEY, STRANGER = make_key(), make_key()
POLICY = Policy((PolicyKey("own", public_pem(KEY.public_key())),))
SIGNED = sign_statement(KEY, make_statement("x", IMAGE, IMAGE_SIGNATURE, {}))
TEXT = write_policy(POLICY)


def test_an_image_signed_by_a_key_of_the_policy_holds() -> None:
    results = evaluate(POLICY, IMAGE, [SIGNED])
    assert [(each.rule, each.outcome) for each in results] == [
        (f"signed statement {IMAGE_SIGNATURE}", "holds"),
        ("transparency log", "not checked"),
    ]
    assert "'own'" in results[0].why
    assert all_hold(results)


def test_an_unsigned_image_fails() -> None:
    results = evaluate(POLICY, IMAGE, [])
    assert not all_hold(results) and results[0].why == "the image has no signatures"


def test_a_strangers_signature_fails_and_names_the_keys_tried() -> None:
    results = evaluate(POLICY, IMAGE, [sign_statement(STRANGER, make_statement("x", IMAGE, IMAGE_SIGNATURE, {}))])
    assert results[0].outcome == "fails" and "tried: own" in results[0].why


def test_another_images_bundle_fails_and_names_that_image() -> None:
    results = evaluate(POLICY, OTHER, [SIGNED])
    assert results[0].outcome == "fails" and IMAGE in results[0].why


def test_a_statement_of_another_type_is_no_signature() -> None:
    results = evaluate(POLICY, IMAGE, [sign_statement(KEY, make_statement("x", IMAGE, SBOM, {}))])
    assert results[0].outcome == "fails" and SBOM in results[0].why


def test_every_required_predicate_is_asked_for() -> None:
    policy = Policy(POLICY.keys, (IMAGE_SIGNATURE, SBOM))
    assert [each.outcome for each in evaluate(policy, IMAGE, [SIGNED])] == ["holds", "fails", "not checked"]
    sbom = sign_statement(KEY, make_statement("x", IMAGE, SBOM, {}))
    assert all_hold(evaluate(policy, IMAGE, [SIGNED, sbom]))


def test_junk_beside_a_good_signature_does_no_harm() -> None:
    junk = [b"", b"{}", b"[" * 100_000, sign_statement(STRANGER, make_statement("x", IMAGE, IMAGE_SIGNATURE, {}))]
    assert all_hold(evaluate(POLICY, IMAGE, [*junk, SIGNED]))


def test_a_flood_of_bad_bundles_gives_a_short_reason() -> None:
    bundles = [
        sign_statement(KEY, make_statement("x", f"sha256:{number:064x}", IMAGE_SIGNATURE, {})) for number in range(50)
    ]
    assert "and 45 more" in evaluate(POLICY, IMAGE, bundles)[0].why


def test_nothing_checked_is_not_enough() -> None:
    assert not all_hold([])
    assert not all_hold([each for each in evaluate(POLICY, IMAGE, [SIGNED]) if each.outcome == "not checked"])


def test_a_policy_reads_back_as_it_was_written() -> None:
    policy = Policy((*POLICY.keys, PolicyKey("other", public_pem(STRANGER.public_key()))), (IMAGE_SIGNATURE, SBOM))
    assert read_policy(write_policy(policy).encode()) == policy


FULL = Policy(
    (
        PolicyKey("own", public_pem(KEY.public_key()), datetime(2030, 1, 31, 12, 0, 5, tzinfo=UTC)),
        PolicyKey("other", public_pem(STRANGER.public_key())),
    ),
    predicates=(IMAGE_SIGNATURE, SBOM),
    signers=2,
    repositories=("registry.example.org/team/*", "127.0.0.1:5000/a/b_c", "[::1]:5000/*"),
    not_after=datetime(2031, 1, 1, tzinfo=UTC),
    revoked_keys=(key_hint(make_key().public_key()),),
    revoked_images=(OTHER,),
    identities=(
        SignerIdentity("https://issuer.example", "me@example.org"),
        SignerIdentity("i", "", "https://.*\\.git"),
    ),
    trusted_root=IMAGE,
    log=True,
    time=True,
    launchers=(PolicyKey("host", public_pem(make_key().public_key()), datetime(2029, 1, 1, tzinfo=UTC)),),
)


def test_a_policy_with_every_key_reads_back_as_it_was_written() -> None:
    assert read_policy(write_policy(FULL).encode()) == FULL


def test_the_older_form_is_written_as_long_as_nothing_more_is_asked() -> None:
    document = tomllib.loads(write_policy(POLICY))
    assert document == {
        "keys": [{"name": "own", "public_key": POLICY.keys[0].public_key}],
        "require": {"predicates": [IMAGE_SIGNATURE]},
    }


def test_a_time_in_another_zone_is_the_same_time() -> None:
    text = "[policy]\nnot_after = 2027-01-01T02:00:00+02:00\n" + TEXT
    assert read_policy(text.encode()).not_after == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pattern", "repository", "covered"),
    [
        ("a.org/team/x", "a.org/team/x", True),
        ("a.org/team/x", "a.org/team/xy", False),
        ("a.org/team/x", "a.org/team/x/y", False),
        ("a.org/team/*", "a.org/team/x", True),
        ("a.org/team/*", "a.org/team/x/y", True),
        ("a.org/team/*", "a.org/team", False),
        ("a.org/team/*", "a.org/teammate/x", False),
        ("a.org/*", "a.org/x", True),
        ("a.org/*", "a.org.evil.net/x", False),
        ("a.org/*", "a.org:5000/x", False),
    ],
)
def test_what_a_pattern_of_repositories_covers(pattern: str, repository: str, covered: bool) -> None:
    assert allows(pattern, repository) == covered


@given(name=st.text(min_size=1))
def test_any_key_name_reads_back(name: str) -> None:
    policy = Policy((PolicyKey(name, POLICY.keys[0].public_key),))
    assert read_policy(write_policy(policy).encode()) == policy


def test_the_image_signature_is_required_when_nothing_is_said() -> None:
    assert read_policy(TEXT.partition("[require]")[0].encode()).predicates == (IMAGE_SIGNATURE,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (TEXT.replace("public_key", "publik_key"), "unknown key 'publik_key'; did you mean 'public_key'"),
        (TEXT.replace("predicates", "predicate"), "unknown key 'predicate'; did you mean 'predicates'"),
        (TEXT.replace("[require]", "[requires]"), "unknown key 'requires'; did you mean 'require'"),
        (TEXT.replace("[[keys]]", "[keys]"), "no \\[\\[keys\\]\\]"),
        ("", "no \\[\\[keys\\]\\]"),
        ("keys = 1", "no \\[\\[keys\\]\\]"),
        ("keys = [1]", "must be a table"),
        ("[[keys]]\nname = 'x'", "needs a name and a public_key"),
        (TEXT + TEXT.partition("[require]")[0], "two keys are named 'own'"),
        ("[[keys]]\nname='x'\npublic_key='y'", "number 1 \\(x\\): not a PEM public key"),
        (TEXT.replace(f'["{IMAGE_SIGNATURE}"]', "[]"), "at least one predicate type"),
        (TEXT.replace(f'["{IMAGE_SIGNATURE}"]', "[1]"), "at least one predicate type"),
        ("require = 1", "must be a table"),
        ("a = [", "not a TOML file"),
        (TEXT + "signer = 2", "unknown key 'signer'; did you mean 'signers'"),
        (TEXT + "signers = 2", "asks for 2 signers, but has 1 different ones"),
        (TEXT + "signers = 0", "signers is 0; expected a number of at least 1"),
        (TEXT + "signers = true", "signers is True"),
        (TEXT + "log = 1", "log is 1; expected true or false"),
        (TEXT + "time = 1", "time is 1; expected true or false"),
        (TEXT + TEXT.partition("[require]")[0].replace("[[keys]]", "[[launchers]]"), "are both named 'own'"),
        (TEXT.replace("[[keys]]", "[[launchers]]"), "no \\[\\[keys\\]\\] and no"),
        (TEXT + "repositories = []", "repositories must be a list of at least one"),
        (TEXT + "repositories = 'a.org/x'", "repositories must be a list"),
        (TEXT + "repositories = ['a.org/x:1']", "expected HOST/PATH or HOST/PATH/\\*, without a tag"),
        (TEXT + "repositories = ['*']", "expected HOST/PATH"),
        (TEXT + "repositories = ['*.org/x']", "expected HOST/PATH"),
        (TEXT + "repositories = ['a.org/*/x']", "expected HOST/PATH"),
        (TEXT + "repositories = ['a.org/../x']", "expected HOST/PATH"),
        (TEXT + "trusted_root = 'abc'", "expected sha256: and 64 hex digits"),
        (TEXT + "trusted_root = ''", "expected sha256: and 64 hex digits"),
        (TEXT + "[policy]\nnot_after = 9999-12-31T23:59:59-05:00", "expected a time of the years 1 to 9999 in UTC"),
        (
            TEXT + "[[identities]]\nissuer = 'x'\nsubject_pattern = 'a{99999999999999999999}'",
            "not a regular expression",
        ),
        (TEXT + "[revoked]\nkeys = ['abc']", "expected a fingerprint as"),
        (TEXT + "[revoked]\nimages = ['abc']", "expected sha256: and 64 hex digits"),
        (TEXT + "[revoked]\nimage = []", "unknown key 'image'; did you mean 'images'"),
        (TEXT + "[policy]\nnot_after = 2027-01-01", "expected a time such as"),
        (TEXT + "[policy]\nnot_after = 2027-01-01T00:00:00", "expected a time such as"),
        (TEXT + "[policy]\nnot_after = '2027-01-01T00:00:00Z'", "expected a time such as"),
        (TEXT.replace("name =", "not_after = 5\nname ="), "not_after is 5; expected a time"),
        (TEXT + "[[identities]]\nissuer = 'x'", "either a subject or a subject_pattern"),
        (TEXT + "[[identities]]\nsubject = 'x'", "needs an issuer"),
        (TEXT + "[[identities]]\nissuer='x'\nsubject='x'\nsubject_pattern='x'", "either a subject or"),
        (TEXT + "[[identities]]\nissuer='x'\nsubject_pattern='('", "not a regular expression"),
        ("#" * (2 << 20), "at most 1048576 bytes"),
        ("a=" + "[" * 100_000, "not a TOML file"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(wrong: str, message: str) -> None:
    with pytest.raises(InputError, match=f"mine.toml.*{message}"):
        read_policy(wrong.encode(), where="mine.toml")


def test_a_policy_that_is_not_text_is_refused() -> None:
    with pytest.raises(InputError, match="not a TOML file"):
        read_policy(b"\xff\xfe")
