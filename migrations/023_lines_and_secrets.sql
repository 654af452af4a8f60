-- A line over a route, and what of a message only its receiver may read.
--
-- What shares an ordering key stands in one line, whichever destination of its route it has come to: the
-- line is where the first of the route is. Null without a key.
alter table delivery add column line text;
update delivery set line = destination where ordering_key is not null;

drop index delivery_in_line;
create index delivery_in_line on delivery (line, ordering_key, created_at)
    where ordering_key is not null and state in ('pending', 'waiting');
drop index delivery_on_its_way;
create index delivery_on_its_way on delivery (line, ordering_key)
    where state = 'pending' and ordering_key is not null;

-- What may go to another destination while its own is held or paused.
create index delivery_with_route on delivery (destination, begun_at)
    where state = 'pending' and route is not null;

-- Stands in for `{secret}` in the payload when it is sent, and in nothing else that shows it: whoever may read
-- deliveries must not be able to approve an action with them.
alter table delivery_payload add column secret text;

-- As in 022: the second copies are made anew, with the new columns.
drop index if exists delivery_twice;
drop index if exists delivery_payload_twice;
