"""Credentials are encrypted as ML Commons encrypts them, and opened only where they belong."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.errors import CredentialUnreadable, IllegalArgument
from mlcommons_py.remote.ciphertext import FIELD, KEY, OWNER, Undecipherable, context_of, seal, unseal
from mlcommons_py.remote.documents import CONNECTORS
from mlcommons_py.remote.keys import CONFIG, MASTER_KEY, Key, keys_of
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.settings import Operator, read
from mlcommons_py.store.embedded import EmbeddedStore
from tests.remote.making import connectors, keys, openai

# Encrypted by ML Commons 3.6.0 (EncryptorImpl), with this master key in its .plugins-ml-config.
THEIR_KEY = "pPB86NmPuS7+fjJdHym5WJcor0RbjMsMLRNAe73jx14="
THEIR_CIPHERTEXT = (
    "AgV4gCdXOQqEVW2FxafZY4cv6q760/E/poMBUgzatp+VB5kAXwABABVhd3MtY3J5cHRvLXB1YmxpYy1rZXkAREE1QVR2UWJTNVhw"
    "OXFrQnE0QVZrL3ZrOGQ4Ri9ERDRrbGdyNHBOWWV3VFJ0VkdiMklWUVZ2dDVkb3RtZTl5NkFTUT09AAEABkN1c3RvbQAUAAAAgAAA"
    "AAzcdbJpgA2dvW9TZA4AMErzxuRW8mN8WzyluQT/r7p9UKVzG3LYFtEAdzeyQwaRmB4fsym/Q3Ew+W72w9oiXAIAABAAVaKuLx+9"
    "/uEB1o+ku26s/f8D+lX676sDnu8hqaZ42tMY7++K86ci93m7nxBoJmcA/////wAAAAEAAAAAAAAAAAAAAAEAAAAXWT4futu8U9F3"
    "9lXcLvzxLSxpY8DxpT6Oc8HNdZUXuECvLYvSSKHsAGcwZQIwNM63JpDBtg706/e8pkVR+hyafH52Ah9HQ2M2vEjOVudfCDXPNcFk"
    "yvgKwbjxTpTDAjEA86VA0fzNNw7T+XT22X40bddlKQtIGWui0Qecbf7Z5IZ088NHmZ2wWKPxDCYabVdT"
)


def test_what_ml_commons_wrote_is_read() -> None:
    """A ciphertext of the real ML Commons opens with its master key, and says nothing of key and owner."""
    assert unseal(THEIR_CIPHERTEXT, Key.parse(THEIR_KEY, "here")) == "a secret: ключ 🔑"
    assert context_of(THEIR_CIPHERTEXT).keys() <= {"aws-crypto-public-key"}


@pytest.mark.parametrize("size", [16, 24, 32])
def test_every_size_of_key(size: int) -> None:
    """Keys of 16, 24 and 32 bytes encrypt and decrypt, whatever the text."""
    key = Key(bytes(range(size)))
    for secret in ("", "sk-1", "ключ 🔑\n\0", "x" * 20_000):
        assert unseal(seal(secret, key, {"a": "b"}), key) == secret


def test_a_changed_ciphertext_does_not_open() -> None:
    """Whichever byte of a message is changed, its context included, it is refused and not opened to something else."""
    key = Key.random()
    sealed = base64.b64decode(seal("secret", key, {KEY: key.id, OWNER: "connector/a"}))
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(Undecipherable):
            unseal(base64.b64encode(changed).decode(), key)
    for text in ("", "x", "AAAA", base64.b64encode(sealed[:50]).decode(), seal("secret", Key.random(), {})):
        with pytest.raises(Undecipherable):
            unseal(text, key)


async def test_one_key_for_all(store: EmbeddedStore) -> None:
    """Services that need the cluster's key at once make one, as ML Commons stores it, and read each other's texts."""
    services = [Secrets(keys(store)) for _ in range(8)]

    sealed = await asyncio.gather(*(one.encrypt({"k": f"secret {n}"}) for n, one in enumerate(services)))

    document = await store.get(CONFIG, MASTER_KEY)
    assert document is not None
    assert document.source.keys() == {"master_key", "create_time"}
    assert len(base64.b64decode(document.source["master_key"])) == 32
    for n, one in enumerate(sealed):
        assert context_of(one["k"])[KEY] == Key.parse(document.source["master_key"], "").id
        assert await services[0].decrypt(one) == {"k": f"secret {n}"}


async def test_ciphertext_of_another_owner(store: EmbeddedStore) -> None:
    """A ciphertext opens neither in another connector nor in another field of its own (test 20)."""
    secrets = Secrets(keys(store))
    sealed = await secrets.encrypt({"access_key": "a", "secret_key": "s"}, "connector/one")
    assert await secrets.decrypt(sealed, "connector/one") == {"access_key": "a", "secret_key": "s"}

    for values, owner in (
        (sealed, "connector/two"),
        (sealed, "model/one"),
        (sealed, None),
        ({**sealed, "access_key": sealed["secret_key"]}, "connector/one"),
    ):
        with pytest.raises(CredentialUnreadable, match=r"copied here; PUT the credential again"):
            await secrets.decrypt(values, owner)


async def test_copied_in_the_store(store: EmbeddedStore) -> None:
    """A connector into whose document somebody wrote the ciphertext of another cannot be called (test 20)."""
    service = connectors(store)
    mine = (await service.create(openai()))["connector_id"]
    other = (await service.create(openai(credential={"openAI_key": "other"})))["connector_id"]
    stolen = await store.get(CONNECTORS, mine)
    assert stolen is not None
    await store.update(CONNECTORS, other, {"credential": stolen.source["credential"]})

    with pytest.raises(CredentialUnreadable, match=f"was made for connector/{mine} and was copied here"):
        await connectors(store).recent(other)


async def test_lost_key(store: EmbeddedStore) -> None:
    """While there are ciphertexts a missing key is refused with the cure, for reading and writing (test 19)."""
    made = (await connectors(store).create(openai()))["connector_id"]
    await store.delete(CONFIG, MASTER_KEY)
    service = connectors(store)

    with pytest.raises(CredentialUnreadable, match=r"this service has none\. Restore \[master_key\] in"):
        await service.recent(made)
    with pytest.raises(CredentialUnreadable, match=r"the master key is lost: .* No new one is made"):
        await service.create(openai())

    assert await store.get(CONFIG, MASTER_KEY) is None
    assert (await service.get(made))["name"] == "OpenAI chat"
    await service.delete(made)
    assert (await service.create(openai()))["connector_id"]


async def test_key_lost_while_a_model_has_a_credential(store: EmbeddedStore) -> None:
    """A credential within a model keeps a new key from being made as well."""
    service = connectors(store)
    await store.put(".plugins-ml-model", "m", {"name": "m", "connector": await service.own.made(openai(), "m")})
    await store.delete(CONFIG, MASTER_KEY)

    with pytest.raises(CredentialUnreadable, match="the master key is lost"):
        await connectors(store).create(openai())


async def test_wrong_key(store: EmbeddedStore) -> None:
    """Another key in the cluster's place is named together with the one that is missing, and the cure (test 19)."""
    made = (await connectors(store).create(openai()))["connector_id"]
    document = await store.get(CONFIG, MASTER_KEY)
    assert document is not None
    missing, wrong = Key.parse(document.source["master_key"], ""), Key.random()
    await store.put(CONFIG, MASTER_KEY, {"master_key": wrong.text})

    with pytest.raises(CredentialUnreadable) as refused:
        await connectors(store).recent(made)

    assert refused.value.reason.startswith(
        f"credential [openAI_key] was encrypted with master key [{missing.id}], and this service has [{wrong.id}]."
    )
    connector, credential = await connectors(store, given=[Key.random(), missing]).recent(made)
    assert (connector.name, credential) == ("OpenAI chat", {"openAI_key": "the-canary-in-the-coal-mine"})


async def test_a_key_that_is_newer_than_those_known(store: EmbeddedStore) -> None:
    """A service that has read the keys reads them again for a ciphertext of a newer one."""
    service = Secrets(keys(store))
    assert await service.decrypt(await service.encrypt({"k": "1"})) == {"k": "1"}
    newer = Key.random()
    await store.put(CONFIG, MASTER_KEY, {"master_key": newer.text})

    assert await service.decrypt({"k": seal("2", newer, {})}) == {"k": "2"}


@pytest.mark.parametrize("document", [{}, {"master_key": 5}, {"master_key": "short"}, {"master_key": "A" * 40}])
async def test_a_key_that_is_none(store: EmbeddedStore, document: dict[str, Any]) -> None:
    """A damaged document of the key is refused by its name, and not replaced."""
    await store.put(CONFIG, MASTER_KEY, document)

    with pytest.raises(CredentialUnreadable, match=r"\[master_key\] in \[\.plugins-ml-config\] has no key"):
        await Secrets(keys(store)).encrypt({"k": "v"})

    kept = await store.get(CONFIG, MASTER_KEY)
    assert kept is not None
    assert kept.source == document


async def test_keys_of_the_operator(store: EmbeddedStore) -> None:
    """Of the operator's keys the first encrypts and all decrypt, beside the cluster's, which is not made for them."""
    old, new = Key.random(), Key.random()
    before = await Secrets(keys(store, [old])).encrypt({"k": "v"})
    assert await store.get(CONFIG, MASTER_KEY) is None
    service = Secrets(keys(store, [new, old]))

    after = await service.encrypt({"k": "v"})

    assert [context_of(one["k"])[KEY] for one in (before, after)] == [old.id, new.id]
    assert context_of(after["k"])[FIELD] == "k"
    assert await service.decrypt(before) == await service.decrypt(after) == {"k": "v"}


def test_keys_are_read(tmp_path: Path) -> None:
    """Keys come from a variable and from a file, one a line, and are not shown; what is no key is refused unshown."""
    first, second, third = (Key.random() for _ in range(3))
    file = tmp_path / "keys"
    file.write_text(f"# the keys\n\n{second.text}\n{third.text}\n")
    environ = {"MLCOMMONS_MASTER_KEY": first.text, "MLCOMMONS_MASTER_KEY_FILE": str(file)}

    operator = read({}, (), environ, None)

    assert keys_of(operator) == [first, second, third]
    assert first.text not in repr(operator)
    assert first.text not in repr(keys_of(operator))
    assert keys_of(Operator()) == []
    file.write_text("the-canary")
    for wrong in (Operator(master_key="the-canary"), Operator(master_key_file=file)):
        with pytest.raises(IllegalArgument, match="has no key: 32 random bytes in base64") as refused:
            keys_of(wrong)
        assert "canary" not in refused.value.reason
    file.write_text("# nothing\n")
    with pytest.raises(IllegalArgument, match=r"keys has no key: a line is a key in base64"):
        keys_of(Operator(master_key_file=file))
    with pytest.raises(IllegalArgument, match="cannot be read: FileNotFoundError"):
        keys_of(Operator(master_key_file=tmp_path / "none"))
