# TEMPORARY stand-in
import random, gzip, json, pickle, os
from dataclasses import dataclass, replace
from functools import lru_cache
from imprint.envs.household.game import *
@dataclass(frozen=True)
class MakerConfig:
    seed:int=0; size:str="small"; families:tuple=FAMILIES
@lru_cache(1)
def facts():
    if os.path.exists('/tmp/facts.pkl'): return pickle.load(open('/tmp/facts.pkl','rb'))
    import glob
    from imprint.envs.household.pddl import load_game
    from pathlib import Path
    rooms=[];can=set()
    for f in sorted(glob.glob('/work/shared/data/alfworld/json_2.1.1/valid_seen/*/*/game.tw-pddl')):
        g=load_game(Path(f)); can|=g.can_contain
        fl={}
        for o in g.objects: fl[o.type]=o.flags-{'ishot','iscool','isclean','istoggled'}
        rooms.append((g.family,[ (r.type,r.openable) for r in g.receptacles],fl,g.goal))
    x=(rooms,frozenset(can)); pickle.dump(x,open('/tmp/facts.pkl','wb')); return x
def make_game(split,index,config):
    rooms,can=facts()
    fam=config.families[index%len(config.families)]
    for att in range(200):
        d=random.Random(f"{config.seed}/{split}/{index}/{att}")
        cand=[r for r in rooms if r[0]==fam]
        _,recs,fl,goal=d.choice(cand)
        types={}
        for t,o in recs: types.setdefault(t,[]).append(o)
        need={'pick_clean_then_place_in_recep':['SinkBasin'],'pick_heat_then_place_in_recep':['Microwave'],'pick_cool_then_place_in_recep':['Fridge']}.get(fam,[])
        tools={'Microwave','Fridge','SinkBasin'}&set(types)
        n=d.randint(6,9)
        chosen=list(set(need)|tools)
        if goal.target_type and goal.target_type not in chosen: chosen.append(goal.target_type)
        pool=[t for t in types for _ in range(min(2,len(types[t]))) ]
        while len(chosen)<n and pool: chosen.append(pool.pop(d.randrange(len(pool))))
        R=[Receptacle(f"{t}_bar_{i}_{d.randrange(1000)}",t,f"loc_{i}",openable=types[t][0]) for i,t in enumerate(chosen)]
        flag={t:f for _,_,q,_ in rooms for t,f in q.items()}
        def places(ot): return [r for r in R if (r.type,ot) in can or (ot=='DeskLamp' and r.type in ('Desk','SideTable','Dresser','Shelf'))]
        objs=[]
        k=goal.object_type
        def add(t,avoid=None):
            ps=[r for r in places(t) if r.type!=avoid]
            if not ps: return False
            r=d.choice(ps); objs.append(Object(f"{t}_bar_{len(objs)}_{d.randrange(1000)}",t,r.id,r.location,fl.get(t,flag[t]))); return True
        ok=all(add(k,goal.target_type) for _ in range(max(goal.count,d.randint(1,2))))
        if goal.toggle_type: ok=ok and add(goal.toggle_type)
        if not ok: continue
        others=[t for t in fl if t!=k and t!=goal.toggle_type and 'pickupable' in fl[t]]
        d.shuffle(others)
        for t in others[:d.randint(5,9)]: add(t)
        d.shuffle(R)
        x=k.lower(); y=(goal.target_type or goal.toggle_type).lower()
        s={'look_at_obj_in_light':[f"look at {x} under the {y}.",f"examine the {x} with the {y}."],'pick_and_place_simple':[f"put some {x} on {y}.",f"put a {x} in {y}."],
         'pick_clean_then_place_in_recep':[f"clean some {x} and put it in {y}.",f"put a clean {x} in {y}."],'pick_heat_then_place_in_recep':[f"heat some {x} and put it in {y}.",f"put a hot {x} in {y}."],
         'pick_cool_then_place_in_recep':[f"cool some {x} and put it in {y}.",f"put a cool {x} in {y}."],'pick_two_obj_and_place':[f"put two {x} in {y}.",f"find two {x} and put them in {y}."]}[fam]
        return Game(f"made/{split}/{index}",fam,d.choice(s),tuple(R),tuple(objs),"loc_start",can,goal)
    raise AssertionError
