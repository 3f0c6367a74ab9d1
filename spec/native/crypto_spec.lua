local async = require "spec.support.async"
local await = require("luarium.task").await
local crypto = require("luarium.native").crypto
local scratch = require "spec.support.scratch"

describe("native.crypto", function()
  it("knows the published test vectors", function()
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", crypto.sha256("abc"))
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", crypto.sha256(""))
    assert.equal("a9993e364706816aba3e25717850c26c9cd0d89d", crypto.sha1("abc"))
    assert.equal("900150983cd24fb0d6963f7d28e17f72", crypto.md5("abc"))
    assert.equal(crypto.sha256("a\0b"), crypto.hex_encode(crypto.sha256_raw("a\0b")))
    assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      crypto.hmac_sha256("Jefe", "what do ya want for nothing?"))
    assert.equal(crypto.hmac_sha256("k", "v"), crypto.hex_encode(crypto.hmac_sha256_raw("k", "v")))
  end)

  it("hashes in pieces and can show the digest on the way", function()
    local h = crypto.hasher("sha256")
    assert.equal(crypto.sha256("ab"), h:update("a"):update("b"):hex())
    assert.equal(crypto.sha256("abc"), h:update("c"):hex())
    assert.equal(crypto.sha256_raw("abc"), h:raw())
    assert.error_matches(function() crypto.hasher("crc32") end, "sha256")
  end)

  it("hashes a file", async(function()
    local dir = scratch.make()
    scratch.write(dir .. "/f", ("0123456789"):rep(300000))
    assert.equal(scratch.sh("sha256sum " .. dir .. "/f | cut -c1-64"), await(crypto.hash_file(dir .. "/f")))
    assert.equal(scratch.sh("md5sum " .. dir .. "/f | cut -c1-32"), await(crypto.hash_file(dir .. "/f", "md5")))
    local value, err = await(crypto.hash_file(dir .. "/none"))
    assert.is_nil(value)
    assert.equal("not_found", err.kind)
    scratch.drop(dir)
  end))

  it("encodes base64 as RFC 4648 says, both alphabets", function()
    local vectors = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=" }
    for plain, text in pairs(vectors) do
      assert.equal(text, crypto.base64_encode(plain))
      assert.equal(plain, crypto.base64_decode(text))
      assert.equal((text:gsub("=", "")), crypto.base64url_encode(plain))
      assert.equal(plain, crypto.base64url_decode(text))
      assert.equal(plain, crypto.base64url_decode((text:gsub("=", ""))))
    end
    assert.equal("-_8", crypto.base64url_encode("\251\255"))
    assert.equal("+/8=", crypto.base64_encode("\251\255"))
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    local bytes = table.concat(all)
    assert.equal(bytes, crypto.base64_decode(crypto.base64_encode(bytes)))
    assert.equal(bytes, crypto.hex_decode(crypto.hex_encode(bytes)))
  end)

  it("refuses bad encodings", function()
    for _, text in ipairs { "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zg==\n", " Zg==", "Z-==", "=", "====", "Zm9v\0" } do
      local value, err = crypto.base64_decode(text)
      assert.is_nil(value, text)
      assert.equal("invalid", err.kind)
    end
    assert.is_nil((crypto.base64url_decode("+/8")))
    assert.is_nil((crypto.base64url_decode("Z")))
    for _, text in ipairs { "a", "0g", "0x", "aa " } do
      assert.is_nil((crypto.hex_decode(text)), text)
    end
    assert.equal("\171", crypto.hex_decode("aB"))
  end)

  it("makes identifiers that sort by time and never repeat", function()
    local before, seen = "", {}
    for _ = 1, 5000 do
      local id = crypto.ulid()
      assert.equal(26, #id)
      assert.is_nil(id:match("[^0-9A-HJKMNP-TV-Z]"))
      assert.is_true(before < id)
      before = id
      local uuid = crypto.uuid()
      assert.truthy(uuid:match("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"))
      assert.is_nil(seen[uuid])
      seen[uuid] = true
    end
  end)

  it("puts the time into an identifier", function()
    local digits, id, ms = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", crypto.ulid(), 0
    for i = 1, 10 do ms = ms * 32 + digits:find(id:sub(i, i), 1, true) - 1 end
    assert.is_true(math.abs(ms / 1000 - os.time()) < 5)
  end)

  it("draws random bytes and compares", function()
    assert.equal(0, #crypto.random(0))
    assert.equal(1000, #crypto.random(1000))
    assert.not_equal(crypto.random(16), crypto.random(16))
    assert.error(function() crypto.random(-1) end)
    assert.error(function() crypto.random(1e9) end)
    assert.is_true(crypto.equal("a\0b", "a\0b"))
    assert.is_false(crypto.equal("a\0b", "a\0c"))
    assert.is_false(crypto.equal("a", "aa"))
    assert.error(function() crypto.equal("a", nil) end)
  end)
end)
