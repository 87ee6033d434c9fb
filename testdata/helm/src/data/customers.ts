export interface Customer {
  readonly id: number;
  readonly name: string;
  readonly email: string | null;
  readonly phone: string | null;
}

export interface Bike {
  readonly id: number;
  readonly make: string;
  readonly model: string;
  readonly color: string;
  readonly serial_number: string | null;
}

const listed = 50;

/** Customers by name, or those whose name, e-mail address or phone number contains the words. */
export async function findCustomers(db: D1Database, words: string): Promise<readonly Customer[]> {
  // instr rather than LIKE: D1 refuses patterns over 50 bytes, and % is a character people type.
  const { results } = await db
    .prepare(
      `SELECT id, name, email, phone FROM customers
        WHERE instr(lower(name || ' ' || coalesce(email, '') || ' ' || coalesce(phone, '')), lower(?1)) > 0
        ORDER BY name COLLATE NOCASE LIMIT ?2`,
    )
    .bind(words, listed)
    .all<Customer>();
  return results;
}

export async function customerById(
  db: D1Database,
  id: number,
): Promise<{ readonly customer: Customer; readonly bikes: readonly Bike[] } | undefined> {
  const customer = await db
    .prepare("SELECT id, name, email, phone FROM customers WHERE id = ?")
    .bind(id)
    .first<Customer>();
  if (customer === null) return undefined;
  const { results } = await db
    .prepare("SELECT id, make, model, color, serial_number FROM bikes WHERE customer_id = ? ORDER BY make, model")
    .bind(id)
    .all<Bike>();
  return { customer, bikes: results };
}

/** Adds a customer; undefined when the e-mail address belongs to another one already. */
export async function addCustomer(db: D1Database, customer: Omit<Customer, "id">): Promise<number | undefined> {
  const row = await db
    .prepare("INSERT INTO customers (name, email, phone) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING id")
    .bind(customer.name, customer.email, customer.phone)
    .first<{ id: number }>();
  return row?.id;
}

/** Adds a bike; false when its serial number is registered already. */
export async function addBike(db: D1Database, customerId: number, bike: Omit<Bike, "id">): Promise<boolean> {
  const { meta } = await db
    .prepare(
      `INSERT INTO bikes (customer_id, make, model, color, serial_number)
       VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    )
    .bind(customerId, bike.make, bike.model, bike.color, bike.serial_number)
    .run();
  return meta.changes > 0;
}
