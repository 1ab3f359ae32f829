"""The words on the wire: requests, responses, commands and events as msgspec Structs; bytes to types and back."""
