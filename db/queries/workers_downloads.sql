-- Cross hubs: whoever opens an address has no hub yet, and old addresses go whosever they are.

-- name: redeem
-- Spend the address with this hash: the hub and the backup that it stands for, once.
select hub_id, backup_id
from redeem_download($1);

-- name: prune
-- Addresses that cannot be opened any more, a day after their end.
delete from downloads
where expires_at < now() - interval '1 day';
