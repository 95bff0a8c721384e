-- Why: deletions can be undone within their grace, reclaims are listed and told of, hubs and integrations go as a whole.
-- Locks: new columns, no scan.
-- Old code: runs on it; what it deletes has no time from which it goes, and is gone after the grace as before.

alter table containers add column goes_at timestamptz;
alter table hubs add column deleting_since timestamptz;
alter table reclaims add column stuck_at timestamptz;
alter table reclaims add column abandoned boolean not null default false;
-- What is promised together is listed in its order.
alter table reclaims alter column created_at set default clock_timestamp();

grant delete on reclaims to "{gateway}";
grant update (deleting_since) on hubs to "{gateway}", "{worker}";

-- Workers may remove no hub but one of which nothing is left; up to `most` rows of each table at a time.
create function forget_hub(gone uuid, most bigint) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public
as $$
declare tenant text;
begin
    if not exists (select from public.hubs where id = gone and deleting_since is not null)
        or exists (select from public.reclaims where hub_id = gone and settled_at is null)
        or exists (select from public.runs where hub_id = gone and finished_at is null)
        or exists (select from public.containers where hub_id = gone and state <> 'DELETED')
        or exists (select from public.integrations where hub_id = gone and state <> 'DELETED')
    then
        return false;
    end if;
    delete from public.leases using public.instances
    where leases.instance_id = instances.id and instances.hub_id = gone;
    for tenant in
        select relname from pg_class
        inner join pg_attribute on attrelid = pg_class.oid and attname = 'hub_id' and not attisdropped
        where relkind = 'r' and relnamespace = 'public'::regnamespace
        order by relname
    loop
        begin
            execute format(
                'delete from public.%1$I where ctid in (select ctid from public.%1$I where hub_id = $1 limit $2)',
                tenant
            ) using gone, most;
        exception when foreign_key_violation then
            null;  -- What refers to it goes first: the next call takes it.
        end;
    end loop;
    begin
        delete from public.hubs where id = gone;
    exception when foreign_key_violation then
        return false;
    end;
    return true;
end
$$;
revoke execute on function forget_hub (uuid, bigint) from public;
grant execute on function forget_hub (uuid, bigint) to "{worker}";
