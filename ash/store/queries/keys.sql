-- name: add_key
-- Adds an API key of a tenant; only its digest is stored.
INSERT INTO api_keys (id, tenant_id, label, key_prefix, digest, created_at)
VALUES (:id, :tenant, :label, :key_prefix, :digest, :created_at);

-- name: keys
-- All keys of all tenants; the daemon compares digests in memory, in constant time.
SELECT * FROM api_keys ORDER BY created_at, id;

-- name: delete_key
-- Deletes one key of a tenant.
DELETE FROM api_keys WHERE id = :id AND tenant_id = :tenant RETURNING id;
