---@meta

--- Hashes, encodings, identifiers. Everything is done at once, except hash_file.
---@class luarium.native.crypto
local crypto = {}

---@alias luarium.HashAlgo "sha256"|"sha512"|"sha1"|"md5"

---@param bytes string
---@return string hex
function crypto.sha256(bytes) end

---@param bytes string
---@return string digest 32 bytes
function crypto.sha256_raw(bytes) end

---@param bytes string
---@return string hex
function crypto.sha1(bytes) end

---@param bytes string
---@return string hex
function crypto.md5(bytes) end

---@param key string
---@param bytes string
---@return string hex
function crypto.hmac_sha256(key, bytes) end

---@param key string
---@param bytes string
---@return string code 32 bytes
function crypto.hmac_sha256_raw(key, bytes) end

---@class luarium.native.Hasher
local hasher = {}

---@param bytes string
---@return luarium.native.Hasher self
function hasher:update(bytes) end

--- The digest of what was added so far; more may follow.
---@return string hex
function hasher:hex() end

---@return string digest
function hasher:raw() end

--- Raises on an unknown algorithm.
---@param algo? luarium.HashAlgo default "sha256"
---@return luarium.native.Hasher
function crypto.hasher(algo) end

---@param path string
---@param algo? luarium.HashAlgo default "sha256"
---@return luarium.Op op gives the digest as hex
function crypto.hash_file(path, algo) end

---@param bytes string
---@return string text
function crypto.base64_encode(bytes) end

--- Strict: no line breaks, padding required.
---@param text string
---@return string? bytes
---@return luarium.Error? err kind invalid
function crypto.base64_decode(text) end

--- The alphabet for URLs, without padding.
---@param bytes string
---@return string text
function crypto.base64url_encode(bytes) end

--- Takes text with or without padding.
---@param text string
---@return string? bytes
---@return luarium.Error? err kind invalid
function crypto.base64url_decode(text) end

---@param bytes string
---@return string text lower case
function crypto.hex_encode(bytes) end

---@param text string either case
---@return string? bytes
---@return luarium.Error? err kind invalid
function crypto.hex_decode(text) end

---@param n integer 0 to 1048576
---@return string bytes from the kernel's generator
function crypto.random(n) end

--- 26 characters that sort by time; within one Lua state each is greater than the one before.
---@return string
function crypto.ulid() end

--- A random UUID (version 4).
---@return string
function crypto.uuid() end

--- Compares in a time that does not depend on the contents.
---@param a string
---@param b string
---@return boolean
function crypto.equal(a, b) end

return crypto
