"""Credentials: encrypted in the store, decrypted in memory when a provider is called."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

from mlcommons_py.errors import CredentialUnreadable
from mlcommons_py.remote.ciphertext import FIELD, KEY, OWNER, Undecipherable, context_of, seal, unseal
from mlcommons_py.remote.keys import Key, Keys

_REMEMBERED = 4096
"""Most secrets kept decrypted, each under its ciphertext."""


class Secrets:
    """Encrypts and decrypts the values of credentials, one by one."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._plain: OrderedDict[str, str] = OrderedDict()

    async def encrypt(
        self, values: Mapping[str, str], owner: str | None = None, *, key: Key | None = None
    ) -> dict[str, str]:
        """Return a credential with its values encrypted.

        ``owner`` is what it belongs to, such as ``connector/<id>``; nothing else can use the ciphertexts then. Without
        ``key`` the service's current one encrypts.

        Raises:
            CredentialUnreadable: the cluster's key is lost.
        """
        chosen = await self.keys.current() if key is None else key
        sealed = await asyncio.to_thread(_seal_all, dict(values), owner, chosen)
        # Who finds a moment later that the key was changed can still open it, whatever became of the key.
        self._remember({text: values[name] for name, text in sealed.items()})
        return sealed

    async def decrypt(self, values: Mapping[str, str], owner: str | None = None) -> dict[str, str]:
        """Return a credential with its values decrypted.

        Raises:
            CredentialUnreadable: a value was encrypted with a key that is not there, or for somebody else, or was
                changed; the text names the field, the cause and the cure.
        """
        for name, text in values.items():
            _check_owner(name, text, owner)
        plain = {text: self._plain[text] for text in values.values() if text in self._plain}
        for anew in (False, True):  # perhaps with a key that is newer than those kept
            unknown = [text for text in values.values() if text not in plain]
            if unknown:
                keys = await self.keys.all(anew=anew)
                plain.update(await asyncio.to_thread(_unseal_all, unknown, keys))
        for name, text in values.items():
            if text not in plain:
                raise _unreadable(name, text, keys)
        self._remember(plain)
        return {name: plain[text] for name, text in values.items()}

    def _remember(self, plain: Mapping[str, str]) -> None:
        """Keep what was decrypted, and forget what was not asked for longest."""
        for text, secret in plain.items():
            self._plain[text] = secret
            self._plain.move_to_end(text)
        while len(self._plain) > _REMEMBERED:
            self._plain.popitem(last=False)

    def is_bound(self, values: Mapping[str, str], owner: str, key: Key) -> bool:
        """Return whether every value says that it was encrypted with a key, for its field of an owner."""
        return all(
            _context(text).items() >= {KEY: key.id, OWNER: owner, FIELD: name}.items() for name, text in values.items()
        )


def _seal_all(values: Mapping[str, str], owner: str | None, key: Key) -> dict[str, str]:
    bound = {} if owner is None else {OWNER: owner}
    return {name: seal(secret, key, {KEY: key.id, FIELD: name, **bound}) for name, secret in values.items()}


def _unseal_all(texts: list[str], keys: tuple[Key, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        named = _context(text).get(KEY)
        for key in sorted(keys, key=lambda key: key.id != named):
            try:
                found[text] = unseal(text, key)
                break
            except Undecipherable:
                continue
    return found


def _context(text: str) -> dict[str, str]:
    try:
        return context_of(text)
    except Undecipherable:
        return {}


def _check_owner(name: str, text: str, owner: str | None) -> None:
    """Refuse a ciphertext that says it belongs to another; if it lies, it cannot be opened."""
    context = _context(text)
    bound, field = context.get(OWNER), context.get(FIELD, name)
    if (bound is not None and bound != owner) or field != name:
        belongs = f"[{field}]" if bound in (None, owner) else bound
        raise CredentialUnreadable(
            f"the ciphertext of credential [{name}] was made for {belongs} and was copied here; PUT the credential"
            " again"
        )


def _unreadable(name: str, text: str, keys: tuple[Key, ...]) -> CredentialUnreadable:
    try:
        named = context_of(text).get(KEY)
    except Undecipherable as fault:
        return CredentialUnreadable(f"credential [{name}] is no ciphertext ({fault}); PUT the credential again")
    there = ", ".join(f"[{key.id}]" for key in keys) or "none"
    ids = {key.id for key in keys}
    if named in ids:
        return CredentialUnreadable(
            f"the ciphertext of credential [{name}] is damaged: key [{named}], which it names, does not open it; PUT"
            " the credential again"
        )
    which = "another master key" if named is None else f"master key [{named}]"
    return CredentialUnreadable(
        f"credential [{name}] was encrypted with {which}, and this service has {there}. Restore [master_key] in"
        " [.plugins-ml-config], or give the key that is missing as master_key_file, or PUT the credential again"
    )
