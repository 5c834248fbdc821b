-- name: add_key
-- A key that opens a tenant; only its digest is kept.
INSERT INTO api_keys (id, tenant_id, label, key_prefix, digest, created_at)
VALUES (:id, :tenant, :label, :key_prefix, :digest, :created_at);

-- name: keys
-- All keys of all tenants: the daemon compares in memory, in constant time.
SELECT * FROM api_keys ORDER BY created_at, id;

-- name: delete_key
-- Takes one key of a tenant out.
DELETE FROM api_keys WHERE id = :id AND tenant_id = :tenant RETURNING id;
