interface Entry {
  /** null: the system did it, or a stranger tried. */
  readonly staffId: number | null;
  readonly action: string;
  readonly subject?: string;
  readonly detail?: string;
}

/** Notes what happened. A statement, so that it can be written in one batch with what it is about. */
export function audit(db: D1Database, { staffId, action, subject = "", detail = "" }: Entry): D1PreparedStatement {
  return db
    .prepare("INSERT INTO audit_log (staff_id, action, subject, detail) VALUES (?, ?, ?, ?)")
    .bind(staffId, action, subject, detail);
}

/** Like audit, but notes nothing when the statement before it in the batch changed nothing. */
export function auditChange(db: D1Database, { staffId, action, subject = "", detail = "" }: Entry): D1PreparedStatement {
  return db
    .prepare("INSERT INTO audit_log (staff_id, action, subject, detail) SELECT ?, ?, ?, ? WHERE changes() > 0")
    .bind(staffId, action, subject, detail);
}
