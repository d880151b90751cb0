SELECT * FROM ticket.seat WHERE performance_id = :concerts + 1;
