"""The words on the wire: requests, responses, commands and events as msgspec Structs; encode, decode, record -> wire."""
