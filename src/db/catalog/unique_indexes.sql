select array(select a.attname::text
             from pg_catalog.pg_attribute a
             where i.indisunique and not i.indisexclusion and i.indpred is null and i.indexprs is null
               and a.attrelid = i.indrelid
               and a.attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1])
             order by a.attnum) as columns
from pg_catalog.pg_index i
where i.indrelid = pg_catalog.to_regclass($1) and (i.indisunique or i.indisexclusion)
order by i.indexrelid
