/*
 * answer_scan.c
 *		How functions that answer with one row are read in FROM.
 *
 * The server calls any function in FROM through a tuplestore, as it may return
 * many rows.  For a poll that costs more than its answer.  So a query that reads
 * one of ours gets a node of its own, which calls the function and hands on the
 * row.  It does what a FunctionScan would: the function is called when its row
 * is first wanted, and again only when an argument has changed since.
 *
 * Where the query is nothing but that, the server would describe the columns
 * twice, for the scan and for the result, each time.  Then they are taken out of
 * the plan, and the node describes them by what it knows from the time before.
 *
 * A FunctionScan stays for what is rare: sets, RECORD, functions in SQL, ROWS
 * FROM, WITH ORDINALITY, subqueries as arguments, and whole rows, which queries
 * that lock or change rows read, too, to evaluate themselves again for a row that
 * has been changed meanwhile.
 */
#include "postgres.h"

#include "answer_scan.h"

#include "access/htup_details.h"
#include "answer.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static const char node_name[] = "TicketAnswer";

/* ---------- execution ---------- */

typedef struct AnswerScan
{
	CustomScanState custom;
	SetExprState *call;
	MemoryContext memory; /* that the row is in; NULL: not called yet */
	bool called; /* with the arguments as they are */
	List *columns; /* of the function's row, by number, that ours has */
	TupleTableSlot *row;
	enum
	{
		BEFORE_ROW,
		ON_ROW,
		AFTER_ROW
	} position;
	AnswerSlot answer;
} AnswerScan;

/* As ExecTypeFromTL() would. */
static bool
describes(TupleDesc columns, List *targetlist)
{
	ListCell *lc;
	int i = 0;

	if (columns->natts != list_length(targetlist))
		return false;
	foreach(lc, targetlist)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		Var *var = castNode(Var, entry->expr);
		Form_pg_attribute column = TupleDescAttr(columns, i++);

		if (column->atttypid != var->vartype || column->atttypmod != var->vartypmod ||
			column->attcollation != var->varcollid ||
			strcmp(NameStr(column->attname), entry->resname) != 0)
			return false;
	}
	return true;
}

/*
 * In the current memory context.  A session that asks the same few questions all
 * the time has its answers described once; the oldest description makes room.
 */
static TupleDesc
describe(List *targetlist)
{
	static TupleDesc known[8];
	static int next = 0;
	MemoryContext caller;
	TupleDesc columns;

	for (int i = 0; i < (int) lengthof(known) && known[i]; i++)
		if (describes(known[i], targetlist))
			return CreateTupleDescCopy(known[i]);

	columns = ExecTypeFromTL(targetlist);
	caller = MemoryContextSwitchTo(TopMemoryContext);
	if (known[next])
		FreeTupleDesc(known[next]);
	known[next] = NULL;
	known[next] = CreateTupleDescCopy(columns);
	next = (next + 1) % (int) lengthof(known);
	MemoryContextSwitchTo(caller);
	return columns;
}

static void
scan_begin(CustomScanState *node, EState *estate, int eflags)
{
	AnswerScan *scan = (AnswerScan *) node;
	CustomScan *plan = castNode(CustomScan, node->ss.ps.plan);

	scan->columns = linitial(plan->custom_private);
	scan->row = node->ss.ss_ScanTupleSlot;
	if (list_length(plan->custom_private) > 1)
	{
		node->ss.ps.ps_ResultTupleDesc = describe(lsecond(plan->custom_private));
		ExecInitResultSlot(&node->ss.ps, &TTSOpsVirtual);
		scan->row = node->ss.ps.ps_ResultTupleSlot;
	}

	/* Looks for the right to execute it, too. */
	scan->call = ExecInitTableFunctionResult(linitial(plan->custom_exprs),
											 node->ss.ps.ps_ExprContext, &node->ss.ps);
	scan->call->fcinfo->resultinfo = answer_slot_init(&scan->answer);
}

/* Nearly every query calls once, and needs no memory of its own for that. */
static void
empty_memory(AnswerScan *scan)
{
	MemoryContext query = scan->custom.ss.ps.state->es_query_cxt;

	if (scan->memory == NULL)
		scan->memory = query;
	else if (scan->memory == query)
		scan->memory = AllocSetContextCreate(query, "ticket answer", ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(scan->memory);
}

/* The type may have been changed since the query was planned. */
static void
read_composite(AnswerScan *scan, Datum row)
{
	TupleDesc wanted = scan->row->tts_tupleDescriptor;
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};
	TupleDesc type =
		lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	bool match = type->natts <= MAX_ANSWER_COLUMNS;
	ListCell *lc;
	int n = 0;

	foreach(lc, scan->columns)
	{
		int column = lfirst_int(lc);

		match = match && column <= type->natts &&
				TupleDescAttr(type, column - 1)->atttypid == TupleDescAttr(wanted, n++)->atttypid;
	}
	if (!match)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("function return row and query-specified return row do not match")));
	heap_deform_tuple(&tuple, type, scan->answer.values, scan->answer.nulls);
	ReleaseTupleDesc(type);
}

static void
call_function(AnswerScan *scan)
{
	FunctionCallInfo fcinfo = scan->call->fcinfo;
	PgStat_FunctionCallUsage usage;
	MemoryContext old;
	ListCell *lc;
	int n = 0;
	bool null_argument = false;
	Datum row = (Datum) 0;

	empty_memory(scan);
	old = MemoryContextSwitchTo(scan->memory);
	foreach(lc, scan->call->args)
	{
		NullableDatum *arg = &fcinfo->args[n++];

		arg->value =
			ExecEvalExpr((ExprState *) lfirst(lc), scan->custom.ss.ps.ps_ExprContext, &arg->isnull);
		null_argument |= arg->isnull;
	}
	scan->answer.filled = false;
	fcinfo->isnull = scan->call->func.fn_strict && null_argument;
	if (!fcinfo->isnull)
	{
		pgstat_init_function_usage(fcinfo, &usage);
		row = FunctionCallInvoke(fcinfo);
		pgstat_end_function_usage(&usage, true);
	}
	if (fcinfo->isnull)
		memset(scan->answer.nulls, true, sizeof(scan->answer.nulls));
	else if (!scan->answer.filled)
		read_composite(scan, row);
	MemoryContextSwitchTo(old);
	scan->called = true;
}

/* The row, or an empty slot before and after it. */
static TupleTableSlot *
next_row(AnswerScan *scan)
{
	TupleTableSlot *slot = ExecClearTuple(scan->row);
	bool forward = ScanDirectionIsForward(scan->custom.ss.ps.state->es_direction);
	ListCell *lc;
	int n = 0;

	if (scan->position == (forward ? BEFORE_ROW : AFTER_ROW))
		scan->position = ON_ROW;
	else
		scan->position = forward ? AFTER_ROW : BEFORE_ROW;
	if (scan->position != ON_ROW)
		return slot;
	if (!scan->called)
		call_function(scan);
	foreach(lc, scan->columns)
	{
		slot->tts_values[n] = scan->answer.values[lfirst_int(lc) - 1];
		slot->tts_isnull[n++] = scan->answer.nulls[lfirst_int(lc) - 1];
	}
	return ExecStoreVirtualTuple(slot);
}

static TupleTableSlot *
scan_exec(CustomScanState *node)
{
	AnswerScan *scan = (AnswerScan *) node;
	ExprContext *context = node->ss.ps.ps_ExprContext;
	ProjectionInfo *projection = node->ss.ps.ps_ProjInfo;
	TupleTableSlot *slot = next_row(scan);

	while (!TupIsNull(slot) && (node->ss.ps.qual || projection))
	{
		ResetExprContext(context);
		context->ecxt_scantuple = slot;
		if (ExecQual(node->ss.ps.qual, context))
			return projection ? ExecProject(projection) : slot;
		InstrCountFiltered1(node, 1);
		slot = next_row(scan);
	}
	return slot;
}

static void
scan_rescan(CustomScanState *node)
{
	AnswerScan *scan = (AnswerScan *) node;
	CustomScan *plan = castNode(CustomScan, node->ss.ps.plan);
	Bitmapset *arguments = pull_paramids(linitial(plan->custom_exprs));

	scan->position = BEFORE_ROW;
	if (bms_overlap(node->ss.ps.chgParam, arguments))
		scan->called = false;
	bms_free(arguments);
}

/* What there is to end, the executor ends with the query. */
static void
scan_end(CustomScanState *node)
{
}

/* The server looks for them in the plan. */
static void
explain_output(List *targetlist, ExplainState *es)
{
	List *names = NIL;
	ListCell *lc;

	foreach(lc, targetlist)
		names = lappend(names, unconstify(char *,
										  quote_identifier(lfirst_node(TargetEntry, lc)->resname)));
	ExplainPropertyList("Output", names, es);
}

static void
scan_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	CustomScan *plan = castNode(CustomScan, node->ss.ps.plan);
	List *context = set_deparse_context_plan(es->deparse_cxt, &plan->scan.plan, ancestors);

	if (es->verbose && list_length(plan->custom_private) > 1)
		explain_output(lsecond(plan->custom_private), es);
	ExplainPropertyText("Function Call",
						deparse_expression(linitial(plan->custom_exprs), context,
										   es->verbose || list_length(es->rtable) > 1, false),
						es);
}

static Node *
scan_create(CustomScan *plan)
{
	static const CustomExecMethods methods = {
		.CustomName = node_name,
		.BeginCustomScan = scan_begin,
		.ExecCustomScan = scan_exec,
		.EndCustomScan = scan_end,
		.ReScanCustomScan = scan_rescan,
		.ExplainCustomScan = scan_explain,
	};
	AnswerScan *scan = palloc0(sizeof(AnswerScan));

	NodeSetTag(scan, T_CustomScanState);
	scan->custom.methods = &methods;
	return (Node *) scan;
}

/* ---------- planning ---------- */

static const CustomScanMethods scan_methods = {node_name, scan_create};

static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;
static planner_hook_type prev_planner = NULL;

/* The columns that the query reads, by number; 0 is the whole row. */
static void
columns_read(RelOptInfo *rel, Var *column[MAX_ANSWER_COLUMNS + 1])
{
	List *expressions = list_copy(rel->reltarget->exprs);
	ListCell *lc;

	memset(column, 0, (MAX_ANSWER_COLUMNS + 1) * sizeof(Var *));
	foreach(lc, rel->baserestrictinfo)
		expressions = lappend(expressions, lfirst_node(RestrictInfo, lc)->clause);
	foreach(lc, pull_var_clause((Node *) expressions, PVC_RECURSE_PLACEHOLDERS))
	{
		Var *var = lfirst_node(Var, lc);

		/* There may be some of the tables that the arguments come from. */
		if (var->varno == (int) rel->relid)
			column[var->varattno] = var;
	}
}

static Plan *
scan_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
		  List *custom_plans)
{
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	CustomScan *plan = makeNode(CustomScan);
	Var *column[MAX_ANSWER_COLUMNS + 1];
	List *numbers = NIL;

	columns_read(rel, column);
	for (int i = 1; i <= MAX_ANSWER_COLUMNS; i++)
	{
		int n = list_length(plan->custom_scan_tlist) + 1;

		if (column[i] == NULL)
			continue;
		plan->custom_scan_tlist =
			lappend(plan->custom_scan_tlist,
					makeTargetEntry((Expr *) copyObject(column[i]), n, NULL, false));
		numbers = lappend_int(numbers, i);
	}
	plan->custom_private = list_make1(numbers);
	plan->scan.plan.targetlist = tlist;
	plan->scan.plan.qual = extract_actual_clauses(clauses, false);
	plan->flags = path->flags;
	plan->custom_exprs = list_make1(linitial_node(RangeTblFunction, rte->functions)->funcexpr);
	plan->methods = &scan_methods;
	return &plan->scan.plan;
}

/* Is it one of the extension's C functions that answer with a row of a named type? */
static bool
answers_with_row(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool result;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = form->prolang == ClanguageId && !form->proretset &&
			 form->pronamespace == get_namespace_oid("ticket", true) &&
			 get_typtype(form->prorettype) == TYPTYPE_COMPOSITE;
	ReleaseSysCache(tuple);
	return result;
}

static bool
can_scan(RelOptInfo *rel, RangeTblEntry *rte)
{
	Var *column[MAX_ANSWER_COLUMNS + 1];
	Node *call;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality || list_length(rte->functions) != 1 ||
		rel->reloptkind != RELOPT_BASEREL || rel->max_attr > MAX_ANSWER_COLUMNS)
		return false;
	call = linitial_node(RangeTblFunction, rte->functions)->funcexpr;
	if (!IsA(call, FuncExpr) || !answers_with_row(((FuncExpr *) call)->funcid) ||
		contain_subplans(call))
		return false;
	columns_read(rel, column);
	return column[0] == NULL;
}

/* A FunctionScan is the only way there is; in its place comes ours. */
static void
answer_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	static const CustomPathMethods methods = {.CustomName = node_name, .PlanCustomPath = scan_plan};
	CustomPath *path;

	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);
	if (list_length(rel->pathlist) != 1 ||
		((Path *) linitial(rel->pathlist))->pathtype != T_FunctionScan || !can_scan(rel, rte))
		return;

	path = makeNode(CustomPath);
	path->path = *(Path *) linitial(rel->pathlist);
	path->path.type = T_CustomPath;
	path->path.pathtype = T_CustomScan;
	path->path.parallel_safe = false;
	path->flags = CUSTOMPATH_SUPPORT_BACKWARD_SCAN | CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &methods;
	rel->pathlist = list_make1(path);
}

/* Whether the scan is the whole plan, and hands on columns as they are. */
static bool
is_alone(PlannedStmt *stmt)
{
	CustomScan *plan = (CustomScan *) stmt->planTree;
	ListCell *lc;

	if (stmt->commandType != CMD_SELECT || !IsA(plan, CustomScan) ||
		plan->methods != &scan_methods || plan->scan.plan.qual || plan->scan.plan.initPlan ||
		plan->scan.plan.targetlist == NIL)
		return false;
	foreach(lc, plan->scan.plan.targetlist)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (!IsA(entry->expr, Var) || entry->resjunk || entry->resname == NULL)
			return false;
	}
	return true;
}

/* Takes the columns out of the plan and gives them to the node. */
static void
take_columns(CustomScan *plan)
{
	List *read = linitial(plan->custom_private);
	List *numbers = NIL;
	ListCell *lc;

	foreach(lc, plan->scan.plan.targetlist)
	{
		Var *var = castNode(Var, lfirst_node(TargetEntry, lc)->expr);

		numbers = lappend_int(numbers, list_nth_int(read, var->varattno - 1));
	}
	plan->custom_private = list_make2(numbers, plan->scan.plan.targetlist);
	plan->scan.plan.targetlist = NIL;
	plan->custom_scan_tlist = NIL;
}

static PlannedStmt *
answer_planner(Query *query, const char *text, int cursor_options,
			   ParamListInfo params PLANNER_EXPLAIN)
{
	PlannedStmt *stmt =
		prev_planner ? prev_planner(query, text, cursor_options, params PLANNER_EXPLAIN_ARG) :
					   standard_planner(query, text, cursor_options, params PLANNER_EXPLAIN_ARG);

	if (is_alone(stmt))
		take_columns((CustomScan *) stmt->planTree);
	return stmt;
}

void
answer_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	prev_planner = planner_hook;
	planner_hook = answer_planner;
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = answer_pathlist;
}
