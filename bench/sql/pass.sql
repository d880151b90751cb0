CALL bench.pass(:part, :client_id, :n);
